//! How much of a packet must lie in one piece before it is read.

use super::{ICMP, ICMPV6, Net, SCTP, access::load, inner, sctp};

/// What a network header announces, with the bytes from it on that must lie in one piece.
#[derive(Clone, Copy)]
pub enum Needed {
    /// For [`super::parse`].
    Packet(u32),
    /// For [`inner::parse`].
    Icmp(u32),
}

/// Is the packet what goes out by a wire, or is it still to be cut into what does?
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// As it is.
    None,
    /// A sender left the segmentation to others.
    Segmentation,
}

/// `None` if too little of the packet lies in one piece to know. Where an SCTP packet is still to be cut, its pieces begin
/// behind the common header: nothing of them may be pulled before it.
#[inline(always)]
pub fn needed(data: usize, end: usize, net: Net, offload: Offload) -> Option<Needed> {
    let ip = data + net.at as usize;
    if ip + 20 > end {
        return None;
    }
    // SAFETY: the twenty bytes were checked.
    let (first, v4_proto, v6_proto): (u8, u8, u8) =
        unsafe { (load(ip), load(ip + 9), load(ip + 6)) };
    let sctp = match offload {
        Offload::Segmentation => sctp::HEADER,
        Offload::None => sctp::READ,
    };
    Some(match (net.v4, v4_proto, v6_proto) {
        (true, ICMP, _) => Needed::Icmp(inner::V4),
        (true, SCTP, _) => Needed::Packet((u32::from(first & 0xf) << 2) + sctp),
        (true, ..) => Needed::Packet((u32::from(first & 0xf) << 2) + 20),
        (false, _, ICMPV6) => Needed::Icmp(inner::V6),
        (false, _, SCTP) => Needed::Packet(40 + sctp),
        (false, ..) => Needed::Packet(60),
    })
}
