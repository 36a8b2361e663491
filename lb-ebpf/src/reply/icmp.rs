//! ICMP errors that we send ourselves: for a service without endpoint, for a packet that is too big
//! or too old. The packet in hand becomes its own answer.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_l3_csum_replace, bpf_skb_change_head, bpf_skb_change_tail, bpf_skb_load_bytes},
};
use lb_common::csum;

use super::header;
use crate::{
    lookup,
    packet::{ETH, ICMP, ICMPV6, Packet, sctp, word},
    rewrite::skb,
    scratch::{QUOTE, Scratch},
};

/// Bytes of an IPv6 header and a fragment header: who is told that a fragment is too big sends
/// smaller ones.
const V6_WITH_FRAGMENT: u32 = 48;

/// Which error is sent about a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing listens on the port.
    PortUnreachable,
    /// Its hops are used up.
    TimeExceeded,
    /// Larger than this, which the way on carries.
    TooBig(u16),
}

impl Answer {
    /// Type and code as one word of an ICMP header, and the word behind the checksum.
    #[inline(always)]
    fn words(self, v4: bool) -> (u16, u32) {
        let (kind, code, rest) = match (self, v4) {
            (Self::PortUnreachable, true) => (3, 3, 0),
            (Self::PortUnreachable, false) => (1, 4, 0),
            (Self::TimeExceeded, true) => (11, 0, 0),
            (Self::TimeExceeded, false) => (3, 0, 0),
            (Self::TooBig(mtu), true) => (3, 4, u32::from(mtu)),
            (Self::TooBig(mtu), false) => (2, 0, u32::from(mtu)),
        };
        (u16::from_ne_bytes([kind, code]), rest.to_be())
    }
}

/// Makes `skb` the answer to itself, from its destination to its source. It is then sent by its
/// device, which finds the neighbour. An error means that it is to be dropped: half of it may be
/// written.
#[inline(always)]
pub fn turn(skb: *mut __sk_buff, p: &Packet, s: &mut Scratch, answer: Answer) -> Result<(), ()> {
    let header = p.l4 - p.net;
    let least = if p.v4 { 20 } else { 40 };
    let of_fragment = p.is_fragment() && !p.v4 && header == V6_WITH_FRAGMENT;
    if header != least && !of_fragment {
        // With options in it: no client that needs an answer.
        return Err(());
    }
    // The whole TCP header: its checksum may be still to fill in, and then cannot be cut off. So
    // may that of SCTP, and of an INIT the tag behind it shows that the sender of the error has
    // seen the packet.
    let quoted = header
        + if p.is_tcp() {
            20
        } else if !p.is_sctp() {
            8
        } else if p.len >= header + sctp::QUOTE {
            sctp::QUOTE
        } else {
            sctp::HEADER
        };
    // Of a TCP header behind that of a fragment only the ports and numbers, then.
    let quoted = if quoted > QUOTE as u32 {
        QUOTE as u32
    } else {
        quoted
    };
    // No other number: for the verifier of Linux 6.1, which must see that it is not 0. The compiler
    // knows, and must not leave it out.
    let quoted = ((core::hint::black_box(quoted) - 1) & 0x3f) + 1;
    let room = least + 8 + if p.net == 0 { ETH } else { 0 };
    let draft = &mut s.draft;
    draft.quote = [0; QUOTE / 4];
    // SAFETY: the helpers check offsets and lengths against the buffer; `quote` holds the longest
    // quote.
    unsafe {
        let quote = draft.quote.as_mut_ptr().cast::<c_void>();
        if bpf_skb_load_bytes(skb.cast(), p.net, quote, quoted) != 0
            || bpf_skb_change_tail(skb, p.net + quoted, 0) != 0
            || bpf_skb_change_head(skb, room, 0) != 0
            || skb::untag(skb).is_err()
        {
            return Err(());
        }
    }
    let sum = quote_sum(p, &draft.quote, quoted - header);
    let (kind, rest) = answer.words(p.v4);
    let length = (quoted + 8) as u16;
    let mut icmp_sum = csum::add(csum::add(sum, u32::from(kind)), rest);
    let h = &mut draft.head;
    if p.v4 {
        header::network(h, p, ICMP, length);
        h[5] = word(kind, !csum::fold(icmp_sum));
        h[6] = rest;
    } else {
        header::network(h, p, ICMPV6, length);
        icmp_sum += p.pseudo_sum(ICMPV6, u32::from(length));
        h[10] = word(kind, !csum::fold(icmp_sum));
        h[11] = rest;
    }
    header::store(skb, h, least + 8)
}

/// The sum over what is quoted, as it will stand when it arrives. If its transport checksum is
/// still to be filled in, the device will fill it in also here, over what is left of the packet:
/// header and checksum then add up to the complement of the pseudo header's sum, which now stands
/// in its place. That of SCTP, over `l4` bytes, is computed here.
#[inline(always)]
fn quote_sum(p: &Packet, quote: &[u32; QUOTE / 4], l4: u32) -> u64 {
    let network = if p.v4 { 5 } else { 10 };
    // No card fills in the sum of a fragment.
    let unfinished = !p.is_fragment() && p.sum_is_unfinished();
    let mut sum = 0;
    let mut i = 0;
    while i < QUOTE / 4 {
        if i < network || !unfinished || p.is_sctp() {
            sum = csum::add(sum, quote[i]);
        }
        i += 1;
    }
    if unfinished {
        let made = if !p.is_sctp() {
            u32::from(!(p.sum as u16))
        } else if p.v4 {
            sctp::sum_of([quote[5], quote[6], quote[7], quote[8], quote[9]], l4)
        } else {
            sctp::sum_of([quote[10], quote[11], quote[12], quote[13], quote[14]], l4)
        };
        sum = csum::add(sum, made);
    }
    sum
}

/// Lets an answer behind an Ethernet header come from an address that is routed to `lb0`.
#[inline(always)]
pub fn set_lb0_source(skb: *mut __sk_buff, p: &Packet) -> Result<(), ()> {
    if !p.v4 {
        return Ok(());
    }
    let (vip, from) = (p.dst.words()[3], lookup::icmp_source(&p.dst).words()[3]);
    if from == vip {
        return Ok(());
    }
    // SAFETY: the helpers check offsets and lengths against the buffer.
    unsafe {
        let rc = bpf_l3_csum_replace(skb, ETH + 10, u64::from(vip), u64::from(from), 4);
        skb::ok(rc)
            .and_then(|()| skb::store(skb, ETH + 12, &from, 0))
            .map_err(|_| ())
    }
}
