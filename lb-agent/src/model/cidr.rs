//! IP addresses and networks, read as leniently as the API server reads old objects: with leading
//! zeros and padding.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use lb_common::Addr;

/// A network in CIDR notation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cidr {
    /// Its first address, or an address of a device in it.
    pub net: IpAddr,
    /// Length of the prefix in bits, at most 32 or 128.
    pub prefix: u8,
}

impl Cidr {
    /// The network of an address in it, which need not be its first one.
    #[must_use]
    pub const fn new(net: IpAddr, prefix: u8) -> Self {
        Self { net, prefix }
    }

    /// Reads `10.0.0.0/8`, with the leniency of [`parse_ip`]; bits behind the prefix are cleared.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (ip, prefix) = text.trim().split_once('/')?;
        let prefix: u8 = prefix.parse().ok()?;
        let net = mask(parse_ip(ip)?, prefix)?;
        Some(Self { net, prefix })
    }

    /// The network that holds this address alone.
    #[must_use]
    pub fn host(ip: IpAddr) -> Self {
        let prefix = if ip.is_ipv4() { 32 } else { 128 };
        Self::new(ip, prefix)
    }

    /// The address, and the length of the prefix counted in the 128 bits of an [`Addr`].
    #[must_use]
    pub fn bits(self) -> (Addr, u8) {
        let mapped = if self.net.is_ipv4() { 96 } else { 0 };
        (self.net.into(), self.prefix + mapped)
    }

    /// Is `ip` an address of this network? Never for an address of the other family.
    #[must_use]
    pub fn contains(self, ip: IpAddr) -> bool {
        let Self { net, prefix } = self;
        ip.is_ipv4() == net.is_ipv4() && mask(ip, prefix) == mask(net, prefix)
    }

    /// Do the two networks share an address?
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let prefix = self.prefix.min(other.prefix);
        Self { prefix, ..self }.contains(other.net)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
            .ok_or_else(|| "a network looks like 198.18.0.0/15 or fd66::/16".to_owned())
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { net, prefix } = self;
        write!(f, "{net}/{prefix}")
    }
}

/// An address; leading zeros are decimal (`010.0.0.1` is 10.0.0.1) and an IPv4-mapped one is IPv4,
/// as the API server's own lenient parser has it.
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
    use super::*;

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
            let cidr = Cidr::parse(text).unwrap();
            assert_eq!(
                (cidr.net.to_string().as_str(), cidr.prefix),
                (want, prefix),
                "{text}"
            );
        }
        for bad in [
            "10.0.0.1",
            "10.0.0.0/33",
            "fd66::/129",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/x",
        ] {
            assert_eq!(Cidr::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn networks_contain_their_addresses_and_no_other_family() {
        for (net, ip, wanted) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "fd66::1", false),
            ("::/0", "fd66::1", true),
            ("::/0", "10.0.0.1", false),
            ("198.51.100.7/32", "198.51.100.7", true),
            ("198.51.100.7/32", "198.51.100.6", false),
            ("fd66::/16", "fd66:ffff::1", true),
            ("fd66::/16", "fd67::1", false),
            ("fd66::1/128", "fd66::1", true),
        ] {
            let cidr: Cidr = net.parse().unwrap();
            assert_eq!(cidr.contains(ip.parse().unwrap()), wanted, "{ip} in {net}");
        }
    }

    #[test]
    fn networks_overlap_where_one_contains_the_other() {
        let overlap = |a: &str, b: &str| {
            let (a, b): (Cidr, Cidr) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(a.overlaps(b), b.overlaps(a), "{a} {b}");
            a.overlaps(b)
        };
        assert!(overlap("10.0.0.0/8", "10.96.0.0/16"));
        assert!(!overlap("10.96.0.0/16", "10.97.0.0/16"));
        assert!(!overlap("::/0", "0.0.0.0/0"));
    }
}
