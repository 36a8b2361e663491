//! ICMP errors in both families, and what they quote.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use etherparse::{Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type};
use testbed::probe::Family;

use super::{History, Tuple, build::icmpv6_message, read};

/// An error, as routers and hosts send it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Error {
    /// IPv4: destination unreachable with this code.
    Unreachable4(u8),
    /// IPv6: destination unreachable with this code.
    Unreachable6(u8),
    /// Port unreachable in either family.
    Port,
    /// Fragmentation needed, or packet too big.
    TooBig(u16),
    /// Time exceeded: hops (0) or reassembly (1).
    Time(u8),
    /// Parameter problem with this code.
    Parameter(u8),
    /// IPv4 alone, deprecated (RFC 6633).
    Quench,
    /// A redirect to another router.
    Redirect,
    /// An error of an unassigned type.
    Unknown,
}

impl Error {
    /// Type, code, and the four bytes behind the sum.
    pub(crate) fn words(self, family: Family) -> (u8, u8, [u8; 4]) {
        let v4 = family == Family::V4;
        match self {
            Self::Unreachable4(code) => (3, code, [0; 4]),
            Self::Unreachable6(code) => (1, code, [0; 4]),
            Self::Port if v4 => (3, 3, [0; 4]),
            Self::Port => (1, 4, [0; 4]),
            Self::TooBig(mtu) => {
                let [high, low] = mtu.to_be_bytes();
                if v4 {
                    (3, 4, [0, 0, high, low])
                } else {
                    (2, 0, [0, 0, high, low])
                }
            }
            Self::Time(code) => (if v4 { 11 } else { 3 }, code, [0; 4]),
            // A pointer goes with code 0 alone.
            Self::Parameter(code) if v4 => (12, code, [if code == 0 { 9 } else { 0 }, 0, 0, 0]),
            Self::Parameter(code) => (4, code, [0, 0, 0, 40]),
            Self::Quench => (4, 0, [0; 4]),
            Self::Redirect if v4 => (5, 1, [198, 18, 0, 9]),
            Self::Redirect => (137, 0, [0; 4]),
            Self::Unknown => (if v4 { 44 } else { 99 }, 0, [0; 4]),
        }
    }
}

/// What an error quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Quote {
    /// Which packet of the row, counted from 0, as it left us; the last one if `None`.
    pub(crate) of: Option<usize>,
    /// How much of its transport header and what follows; all if `None`.
    pub(crate) transport: Option<usize>,
}

impl Quote {
    /// All of the packet that left us last.
    pub(crate) const LAST: Self = Self {
        of: None,
        transport: None,
    };

    /// With no more than so many bytes behind the network header.
    pub(crate) const fn cut(self, transport: usize) -> Self {
        Self {
            transport: Some(transport),
            ..self
        }
    }

    /// The number of the packet it quotes, and that packet as it left us, whole.
    pub(crate) fn index<'a>(&self, history: &'a History) -> Option<(usize, &'a [u8])> {
        let packets = &history.packets;
        let n = self.of.unwrap_or(packets.len().checked_sub(1)?);
        packets.get(n).map(|(_, left)| (n, &left[..]))
    }

    /// Of the packet that left us n-th.
    pub(crate) const fn of(self, n: usize) -> Self {
        Self {
            of: Some(n),
            ..self
        }
    }
}

/// The message, from the ICMP header on.
pub(super) fn error(
    error: Error,
    quote: &Quote,
    family: Family,
    tuple: &Tuple,
    history: &History,
) -> Result<Vec<u8>> {
    let found = quote.index(history);
    let (_, whole) = found.context("nothing to quote has left in this row")?;
    let mut quoted = whole.to_vec();
    if let Some(transport) = quote.transport {
        let headers = read::transport(whole).context("what left cannot be read")?;
        quoted.truncate(headers.at + transport);
    }
    let (kind, code, rest) = error.words(family);
    if family == Family::V4 {
        let kind = Icmpv4Type::Unknown {
            type_u8: kind,
            code_u8: code,
            bytes5to8: rest,
        };
        let header = Icmpv4Header::with_checksum(kind, &quoted);
        return Ok([&header.to_bytes()[..], &quoted].concat());
    }
    let kind = Icmpv6Type::Unknown {
        type_u8: kind,
        code_u8: code,
        bytes5to8: rest,
    };
    icmpv6_message(kind, tuple, &quoted)
}

/// Makes the sum of an ICMP message anew, in a packet whose network header has this length.
pub(crate) fn icmp_sum(packet: &mut [u8], header: usize, ends: &Tuple) -> Option<()> {
    let bytes = packet.get(header..)?;
    let sum = if let (IpAddr::V6(src), IpAddr::V6(dst)) = (ends.src, ends.dst) {
        let (mut message, payload) = Icmpv6Header::from_slice(bytes).ok()?;
        let sum = message.update_checksum(src.octets(), dst.octets(), payload);
        sum.ok()?;
        message.checksum
    } else {
        let (mut message, payload) = Icmpv4Header::from_slice(bytes).ok()?;
        message.update_checksum(payload);
        message.checksum
    };
    packet
        .get_mut(header + 2..header + 4)?
        .copy_from_slice(&sum.to_be_bytes());
    Some(())
}
