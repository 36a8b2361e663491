//! One address type for both families, and the transport protocols. Owns the IPv4-mapped
//! convention.

/// An IPv4 or IPv6 address in network byte order; IPv4 is stored mapped (`::ffff:a.b.c.d`, RFC 4291
/// §2.5.5.2).
///
/// Bytes rather than words, so that `bpftool map dump` shows them as people write them.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr {
    /// The sixteen bytes, network order.
    pub b: [u8; 16],
}

const _: () = assert!(size_of::<Addr>() == 16 && align_of::<Addr>() == 4);

impl Addr {
    /// `::`, which is also what `0.0.0.0` never is: that one is `::ffff:0.0.0.0`.
    pub const ZERO: Self = Self { b: [0; 16] };

    /// From the four bytes of an IPv4 address, network order.
    #[inline(always)]
    #[must_use]
    pub const fn v4(a: [u8; 4]) -> Self {
        Self {
            b: [
                0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3],
            ],
        }
    }

    /// From the sixteen bytes of an IPv6 address, network order.
    #[inline(always)]
    #[must_use]
    pub const fn v6(b: [u8; 16]) -> Self {
        Self { b }
    }

    /// From four 32-bit words as the kernel's socket contexts hold them (each in network order in
    /// memory).
    #[inline(always)]
    #[must_use]
    pub const fn from_words(w: [u32; 4]) -> Self {
        let (a, b, c, d) = (
            w[0].to_ne_bytes(),
            w[1].to_ne_bytes(),
            w[2].to_ne_bytes(),
            w[3].to_ne_bytes(),
        );
        Self {
            b: [
                a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1],
                d[2], d[3],
            ],
        }
    }

    /// The four 32-bit words as the kernel's socket contexts hold them; the last one is the IPv4
    /// address if this is one.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u32; 4] {
        let b = &self.b;
        [
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        ]
    }

    /// An IPv4-mapped address?
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        let w = self.words();
        w[0] == 0 && w[1] == 0 && w[2] == u32::from_ne_bytes([0, 0, 0xff, 0xff])
    }

    /// 127.0.0.0/8 or `::1`.
    #[inline(always)]
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        if self.is_v4() {
            return self.b[12] == 127;
        }
        let w = self.words();
        w[0] == 0
            && w[1] == 0
            && w[2] == 0
            && self.b[15] == 1
            && self.b[12] == 0
            && self.b[13] == 0
            && self.b[14] == 0
    }

    /// `0.0.0.0` or `::`: a connect to it reaches this host.
    #[inline(always)]
    #[must_use]
    pub const fn is_unspecified(&self) -> bool {
        let w = self.words();
        w[3] == 0 && (self.is_v4() || (w[0] == 0 && w[1] == 0 && w[2] == 0))
    }
}

/// Transport protocol numbers (IANA) as they stand in map keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Proto {
    /// 6
    Tcp = 6,
    /// 17
    Udp = 17,
    /// 132
    Sctp = 132,
}

impl Proto {
    /// The IANA number.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The protocol of an IANA number, if it is one we balance.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(n: u8) -> Option<Self> {
        match n {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }
}

#[cfg(any(feature = "user", test))]
mod user {
    use std::{
        fmt,
        net::{IpAddr, Ipv4Addr, Ipv6Addr},
    };

    use super::{Addr, Proto};

    impl From<IpAddr> for Addr {
        fn from(ip: IpAddr) -> Self {
            match ip {
                IpAddr::V4(a) => Self::v4(a.octets()),
                IpAddr::V6(a) => Self::v6(a.octets()),
            }
        }
    }

    impl From<Addr> for IpAddr {
        fn from(a: Addr) -> Self {
            if a.is_v4() {
                Self::V4(Ipv4Addr::new(a.b[12], a.b[13], a.b[14], a.b[15]))
            } else {
                Self::V6(Ipv6Addr::from(a.b))
            }
        }
    }

    impl fmt::Display for Addr {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            IpAddr::from(*self).fmt(f)
        }
    }

    impl fmt::Debug for Addr {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(self, f)
        }
    }

    impl fmt::Display for Proto {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.pad(match self {
                Self::Tcp => "TCP",
                Self::Udp => "UDP",
                Self::Sctp => "SCTP",
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::Addr;

    fn a(s: &str) -> Addr {
        s.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn families_are_told_apart() {
        assert!(a("10.0.0.1").is_v4());
        assert!(!a("fd66::1").is_v4());
        assert!(!Addr::ZERO.is_v4());
        assert_eq!(IpAddr::from(a("10.0.0.1")).to_string(), "10.0.0.1");
        assert_eq!(Addr::from_words(a("fd66::1:2").words()), a("fd66::1:2"));
    }

    #[test]
    fn loopback_and_unspecified() {
        for l in ["127.0.0.1", "127.9.9.9", "::1"] {
            assert!(a(l).is_loopback(), "{l}");
        }
        for n in ["128.0.0.1", "::2", "::", "0.0.0.0", "fd66::1", "::100:1"] {
            assert!(!a(n).is_loopback(), "{n}");
        }
        assert!(a("::").is_unspecified() && a("0.0.0.0").is_unspecified());
        assert!(!a("::1").is_unspecified() && !a("10.0.0.0").is_unspecified());
    }
}
