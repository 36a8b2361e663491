//! Ranges of ports: `30000-32767`, or one port alone.

use std::{fmt, ops::RangeInclusive, str::FromStr};

/// A first and a last port, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The cluster's node ports unless the API server is told otherwise
    /// (`--service-node-port-range`).
    pub const NODE_PORTS: Self = Self {
        first: 30000,
        last: 32767,
    };

    /// Every port of it.
    #[must_use]
    pub fn ports(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err("looks like 30000-32767, the smaller port first".to_owned()),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last {
            return write!(f, "{first}");
        }
        write!(f, "{first}-{last}")
    }
}

/// One word of `--snat-ports`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnatPorts {
    /// Every port from 1024 on that the kernel does not give to sockets by itself.
    Auto,
    /// These.
    Range(PortRange),
}

impl FromStr for SnatPorts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            range => range
                .parse()
                .map(Self::Range)
                .map_err(|_| "neither auto nor a range such as 61000-65535".to_owned()),
        }
    }
}

impl fmt::Display for SnatPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Range(range) => range.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_they_are_shown() {
        for text in ["30000-32767", "80", "1-65535"] {
            let range: PortRange = text.parse().unwrap();
            assert_eq!(range.to_string(), text);
            assert_eq!(text.parse(), Ok(SnatPorts::Range(range)));
        }
        assert_eq!("auto".parse(), Ok(SnatPorts::Auto));
        for bad in ["", "0-1", "2-1", "1-65536", "1-2-3", "-", "web"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
            assert!(bad.parse::<SnatPorts>().is_err(), "{bad}");
        }
        assert_eq!(PortRange::NODE_PORTS.to_string(), "30000-32767");
    }
}
