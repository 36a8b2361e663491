//! Addresses and networks as old objects hold them: with leading zeros and padding. Owns what is accepted, and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address; leading zeros are decimal (`010.0.0.1` is 10.0.0.1) and an IPv4-mapped one is IPv4, as the API server's own
/// lenient parser has it.
#[must_use]
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if !text.contains(':') {
        return lenient_v4(text).map(IpAddr::V4);
    }
    // The dotted end of `::ffff:010.0.0.1`.
    let v6: Ipv6Addr = match text.rfind(':') {
        Some(colon) if text[colon..].contains('.') => {
            let tail = lenient_v4(&text[colon + 1..])?;
            format!("{}:{tail}", &text[..colon]).parse().ok()?
        }
        _ => text.parse().ok()?,
    };
    Some(IpAddr::V6(v6).to_canonical())
}

fn lenient_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let significant = part.trim_start_matches('0');
        *octet = if significant.is_empty() {
            0
        } else {
            significant.parse().ok()?
        };
    }
    parts.next().is_none().then(|| octets.into())
}

/// A network in CIDR notation; bits behind the prefix are cleared.
#[must_use]
pub fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, prefix) = text.trim().split_once('/')?;
    let prefix: u8 = prefix.parse().ok()?;
    Some((mask(parse_ip(ip)?, prefix)?, prefix))
}

/// Is `ip` an address of this network?
#[must_use]
pub fn in_cidr(ip: IpAddr, (net, prefix): (IpAddr, u8)) -> bool {
    ip.is_ipv4() == net.is_ipv4() && mask(ip, prefix) == mask(net, prefix)
}

fn mask(ip: IpAddr, prefix: u8) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(a) => {
            let host = 32u32.checked_sub(prefix.into())?;
            let bits = u32::MAX.checked_shl(host).unwrap_or(0);
            Some(Ipv4Addr::from_bits(a.to_bits() & bits).into())
        }
        IpAddr::V6(a) => {
            let host = 128u32.checked_sub(prefix.into())?;
            let bits = u128::MAX.checked_shl(host).unwrap_or(0);
            Some(Ipv6Addr::from_bits(a.to_bits() & bits).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_cidr, parse_ip};

    #[test]
    fn leading_zeros_are_decimal() {
        for (text, want) in [
            ("10.0.0.1", "10.0.0.1"),
            ("010.000.000.001", "10.0.0.1"),
            (" 10.1.2.3 ", "10.1.2.3"),
            ("fd66::1", "fd66::1"),
            ("fd66:0000::0001", "fd66::1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::ffff:010.0.0.01", "10.0.0.1"),
        ] {
            assert_eq!(parse_ip(text).unwrap().to_string(), want, "{text}");
        }
        for bad in [
            "",
            "None",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.1.2",
            "10.0.0.-1",
            "10..0.1",
            "web",
            "fd66:::1",
            "::é.1",
        ] {
            assert_eq!(parse_ip(bad), None, "{bad}");
        }
    }

    #[test]
    fn networks_are_masked() {
        for (text, want, prefix) in [
            ("10.1.2.3/8", "10.0.0.0", 8),
            (" 010.1.2.3/32 ", "10.1.2.3", 32),
            ("10.1.2.3/0", "0.0.0.0", 0),
            ("fd66::1/64", "fd66::", 64),
            ("::/0", "::", 0),
        ] {
            let (net, p) = parse_cidr(text).unwrap();
            assert_eq!((net.to_string().as_str(), p), (want, prefix), "{text}");
        }
        for bad in [
            "10.0.0.1",
            "10.0.0.0/33",
            "fd66::/129",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/x",
        ] {
            assert_eq!(parse_cidr(bad), None, "{bad}");
        }
    }
}
