//! Reads a socket buffer: finds its network header, makes what will be read lie in one piece, and
//! parses it.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_pull_data, programs::TcContext};
use lb_common::Reason;

use crate::{
    count::count,
    fragment::{self, Read},
    packet::{
        self, ETH, ETH_P_IP, ETH_P_IPV6, Extent, Needed, Net, Offload, Packet, Unread, inner,
    },
    route,
    scratch::{self, Scratch},
};

/// `skb->pkt_type` of a frame for every host, the first of those that are not for this one alone.
const PACKET_BROADCAST: u32 = 1;
/// Of a frame for another host, which a promiscuous device took in; the last of them.
const PACKET_OTHERHOST: u32 = 3;
/// The bits of a tag that say whose VLAN it is. 0 is no VLAN's: the tag gives a priority alone
/// (IEEE 802.1Q).
const VLAN_ID: u32 = 0xfff;
/// `gso_size` of packets of SCTP, whose pieces differ in length.
const GSO_BY_FRAGS: u32 = 0xffff;

/// Where the headers of a packet are to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Place {
    /// In the frame.
    Frame,
    /// They were read, into this CPU's room: those of a fragment.
    Room,
    /// The same, of a fragment that must go by the stack ([`Read::ForStack`]).
    RoomForStack,
}

/// What a socket buffer holds.
pub enum Headers {
    /// Perhaps a [`Packet`].
    Packet(Net, Place),
    /// ICMP.
    Icmp(Net),
    /// A fragment that cannot be read: see [`Read::Unknown`].
    Fragment,
    /// See [`Read::Lost`].
    LostFragment,
    /// Nothing for us.
    Other,
}

/// Finds the network header, and makes all that will be read lie in one piece.
#[inline(always)]
pub fn find(ctx: &TcContext) -> Headers {
    let skb = ctx.skb.skb;
    // SAFETY: fields of the program's own context, read one by one.
    let (protocol, tagged, vlan, kind, ifindex, gso_size) = unsafe {
        (
            (*skb).protocol as u16,
            (*skb).vlan_present,
            (*skb).vlan_tci & VLAN_ID,
            (*skb).pkt_type,
            (*skb).ifindex,
            (*skb).gso_size,
        )
    };
    let v4 = match protocol {
        ETH_P_IP => true,
        ETH_P_IPV6 => false,
        _ => return Headers::Other,
    };
    // A tagged frame belongs to the VLAN device above, where it is seen again: without the tag, whose
    // number some kernels leave behind (before Linux 6.2).
    if tagged != 0 && vlan != 0 || matches!(kind, PACKET_BROADCAST..=PACKET_OTHERHOST) {
        return Headers::Other;
    }
    let net = Net {
        at: link_header(ifindex),
        v4,
    };
    if !pull(ctx, net.at + net.shortest()) {
        count(Reason::PktMalformed);
        return Headers::Other;
    }
    let offload = offload(gso_size);
    let (found, bytes) = match packet::needed(ctx.data(), ctx.data_end(), net, offload, skb) {
        Ok(Needed::Packet(bytes)) => (Headers::Packet(net, Place::Frame), bytes),
        Ok(Needed::Icmp(bytes)) => (Headers::Icmp(net), bytes),
        // In a function of its own, called from here: it needs much of the stack.
        Ok(Needed::Fragment(before)) => {
            return match fragment::read(skb, net, before) {
                Read::Packet => Headers::Packet(net, Place::Room),
                Read::ForStack => Headers::Packet(net, Place::RoomForStack),
                Read::Unknown => Headers::Fragment,
                Read::Lost => Headers::LostFragment,
            };
        }
        Err(_) => {
            count(Reason::PktMalformed);
            return Headers::Other;
        }
    };
    if !pull(ctx, net.at + bytes) {
        count(Reason::PktMalformed);
        return Headers::Other;
    }
    found
}

/// Bytes before the network header of what comes in on a device, or leaves by it.
#[inline(always)]
fn link_header(ifindex: u32) -> u32 {
    match route::device(ifindex) {
        Some(dev) if dev.header_len == 0 => 0,
        _ => ETH,
    }
}

/// Reads a packet of IPv4, whole or a fragment, into this CPU's room by helpers; false if it cannot
/// be read.
#[inline(always)]
pub fn hold_v4(ctx: &TcContext) -> bool {
    let net = Net {
        at: link_header(ifindex(ctx)),
        v4: true,
    };
    matches!(
        fragment::read(ctx.skb.skb, net, 0),
        Read::Packet | Read::ForStack
    )
}

/// Makes the first `want` bytes, or as many as there are, lie in one piece. Pointers into the
/// packet must be read again.
#[inline(always)]
fn pull(ctx: &TcContext, want: u32) -> bool {
    let linear = (ctx.data_end() as u32).wrapping_sub(ctx.data() as u32);
    let len = ctx.len();
    let want = if len < want { len } else { want };
    // SAFETY: the program's own context.
    linear >= want || unsafe { bpf_skb_pull_data(ctx.skb.skb, want) } == 0
}

/// Is the packet still to be cut into pieces of this size?
#[inline(always)]
fn offload(gso_size: u32) -> Offload {
    if gso_size != 0 {
        Offload::Segmentation
    } else {
        Offload::None
    }
}

/// What [`hold`] read.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Held {
    /// A packet, which is in this CPU's room.
    Packet,
    Malformed,
    Other,
}

/// Reads the headers into this CPU's room, where those of a fragment are already; the third is how
/// many bytes the way on must carry.
#[inline(always)]
pub fn read(
    ctx: &TcContext,
    net: Net,
    place: Place,
) -> Result<(&'static Packet, &'static mut Scratch, u16), Unread> {
    if place == Place::Frame {
        match hold(ctx.skb.skb, net) {
            Held::Packet => {}
            Held::Malformed => return Err(Unread::Malformed),
            Held::Other => return Err(Unread::Other),
        }
    }
    let (p, s) = scratch::held().ok_or(Unread::Other)?;
    let whole = match place {
        Place::Frame => length(ctx, p),
        Place::Room => p.len as u16,
        // More than any way carries.
        Place::RoomForStack => u16::MAX,
    };
    Ok((p, s, whole))
}

/// A function of the kernel's own (not inlined), with a stack of its own.
#[inline(never)]
fn hold(skb: *mut __sk_buff, net: Net) -> Held {
    match parse(&TcContext::new(skb), net) {
        Ok(p) => match scratch::hold(p) {
            Some(_) => Held::Packet,
            None => Held::Other,
        },
        Err(Unread::Malformed) => Held::Malformed,
        Err(_) => Held::Other,
    }
}

#[inline(always)]
fn parse(ctx: &TcContext, net: Net) -> Result<Packet, Unread> {
    // SAFETY: a field of the program's own context (Linux 5.7).
    let gso_size = unsafe { (*ctx.skb.skb).gso_size };
    let extent = Extent {
        net,
        whole: ctx.len() - net.at,
        offload: offload(gso_size),
        ifindex: ifindex(ctx),
    };
    packet::parse(ctx.data(), ctx.data_end(), extent, ctx.skb.skb)
}

/// Reads an ICMP error, and holds what it says; false if it is none of ours. Not inlined, so that
/// its stack is not that of what becomes of the error.
#[inline(never)]
pub fn hold_icmp_error(skb: *mut __sk_buff, net: Net) -> bool {
    let ctx = &TcContext::new(skb);
    let Some((_, s)) = scratch::held() else {
        return false;
    };
    let whole = ctx.len() - net.at;
    let (room, quote) = (&mut s.header, &mut s.quote);
    inner::parse(skb, net, whole, ifindex(ctx), room, quote)
        .and_then(scratch::hold)
        .is_some()
}

/// The device that the packet came in on, or goes out by.
#[inline(always)]
pub fn ifindex(ctx: &TcContext) -> u32 {
    // SAFETY: a field of the program's own context.
    unsafe { (*ctx.skb.skb).ifindex }
}

/// Bytes of the packet from the network header on, or of each that a device will cut it into.
#[inline(always)]
fn length(ctx: &TcContext, p: &Packet) -> u16 {
    // SAFETY: a field of the program's own context (Linux 5.7).
    let gso_size = unsafe { (*ctx.skb.skb).gso_size };
    if gso_size == 0 {
        // Shorter than what offloads put together.
        p.len as u16
    } else if gso_size == GSO_BY_FRAGS {
        // Each piece is as long as its sender made it.
        0
    } else {
        (p.l4 - p.net + u32::from(p.l4_len) + gso_size) as u16
    }
}
