//! How much of a packet must lie in one piece before it is read.

use super::{
    ICMP, ICMPV6, Net, SCTP, Unread,
    access::load,
    extension::{self, Behind, Chain},
    fragment::{self, MORE, OFFSET},
    inner, sctp,
};

/// What a network header announces, with the bytes from it on that must lie in one piece.
#[derive(Clone, Copy)]
pub enum Needed {
    /// For [`super::parse`].
    Packet(u32),
    /// For [`inner::parse`], which looks further itself.
    Icmp(u32),
    /// For [`fragment::parse`], which reads by helpers; here the bytes of what stands before the
    /// fragment header of IPv6.
    Fragment(u32),
}

/// Is the packet what goes out by a wire, or is it still to be cut into what does?
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// As it is.
    None,
    /// A sender left the segmentation to others.
    Segmentation,
}

/// Extension headers are read through `chain`. Where an SCTP packet is still to be cut, its pieces
/// begin behind the common header: nothing of them may be pulled before it.
#[inline(always)]
pub fn needed(
    data: usize,
    end: usize,
    net: Net,
    offload: Offload,
    chain: impl Chain,
) -> Result<Needed, Unread> {
    let ip = data + net.at as usize;
    if ip + 20 > end {
        return Err(Unread::Malformed);
    }
    // SAFETY: the twenty bytes were checked.
    let (first, v4_proto, v6_proto): (u8, u8, u8) =
        unsafe { (load(ip), load(ip + 9), load(ip + 6)) };
    let (proto, header) = if net.v4 {
        (v4_proto, u32::from(first & 0xf) << 2)
    } else if extension::is_passed_over(v6_proto) {
        let Behind { proto, header } = chain.behind(net, v6_proto)?;
        (proto, header)
    } else {
        (v6_proto, 40)
    };
    Ok(match (net.v4, proto) {
        (true, ICMP) | (false, ICMPV6) => Needed::Icmp(header + inner::HEADER),
        // SAFETY: the twenty bytes were checked.
        (true, _) if unsafe { u16::from_be(load(ip + 6)) } & (MORE | OFFSET) != 0 => {
            Needed::Fragment(0)
        }
        (false, fragment::V6) => Needed::Fragment(header),
        (_, SCTP) => Needed::Packet(
            header
                + match offload {
                    Offload::Segmentation => sctp::HEADER,
                    Offload::None => sctp::QUOTE,
                },
        ),
        _ => Needed::Packet(header + 20),
    })
}
