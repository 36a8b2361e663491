//! Resets of TCP connections. The segment in hand becomes its own answer, as a port without a
//! listener sends it (RFC 9293, 3.10.7.1), and after that also the reset of the side that it was
//! sent to.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_skb_change_tail, bpf_skb_load_bytes},
};
use lb_common::{Addr, csum};

use super::header;
use crate::{
    packet::{self, ACK, Packet, RST, TCP, word},
    rewrite::skb,
    scratch::{HEADERS, Scratch},
};

/// Bytes of a TCP header without options.
const LENGTH: u16 = 20;

/// Makes `skb`, a segment without RST, the reset that answers it. An error means that it is to be
/// dropped: half of it may be written.
#[inline(always)]
pub fn turn(skb: *mut __sk_buff, p: &Packet, s: &mut Scratch) -> Result<(), ()> {
    let header = network_length(p.v4);
    if p.l4 - p.net != header {
        // With options in it: no client that needs an answer.
        return Err(());
    }
    let draft = &mut s.draft;
    // SAFETY: twelve bytes of sixty; the helpers check the buffer.
    unsafe {
        let tcp = draft.quote.as_mut_ptr().cast();
        if bpf_skb_load_bytes(skb.cast(), p.l4, tcp, 12) != 0
            || bpf_skb_change_tail(skb, p.l4 + u32::from(LENGTH), 0) != 0
        {
            return Err(());
        }
    }
    let (seq, ack) = (u32::from_be(draft.quote[1]), draft.quote[2]);
    let data = p.len - header - u32::from(p.l4_len);
    let (seq, ack, flags) = if p.flags & ACK != 0 {
        (ack, 0, RST)
    } else {
        let opens_and_ends = u32::from(p.has_syn()) + u32::from(p.is_fin());
        let next = seq.wrapping_add(data).wrapping_add(opens_and_ends);
        (0, next.to_be(), RST | ACK)
    };
    let tcp = [
        packet::ports(p.dport, p.sport),
        seq,
        ack,
        u32::from_ne_bytes([5 << 4, flags, 0, 0]),
    ];
    draw(&mut draft.head, p, (&p.dst, &p.src), tcp);
    // The network header is where it was, behind whatever stands before it.
    skb::link_header(skb, p).map_err(|_| ())?;
    store(skb, &draft.head, p.v4)
}

/// Headers of a reset.
pub type Head = [u32; HEADERS];

/// Drafts the reset of the side that the segment was sent to, with the ends of `s.flow`: it stands
/// where the segment stood in the sender's sequence, which [`turn`] has read.
#[inline(always)]
pub fn onward(p: &Packet, s: &Scratch) -> Head {
    let (seq, ack) = (s.draft.quote[1], s.draft.quote[2]);
    let tcp = [
        packet::ports(s.flow.sport, s.flow.dport),
        seq,
        ack,
        u32::from_ne_bytes([5 << 4, RST | p.flags & ACK, 0, 0]),
    ];
    let mut head = [0; HEADERS];
    draw(&mut head, p, (&s.flow.src, &s.flow.dst), tcp);
    head
}

/// Makes `skb`, which [`turn`] has written, the reset of these headers.
#[inline(always)]
pub fn store(skb: *mut __sk_buff, head: &Head, v4: bool) -> Result<(), ()> {
    header::store(skb, head, network_length(v4) + u32::from(LENGTH))
}

#[inline(always)]
fn network_length(v4: bool) -> u32 {
    if v4 { 20 } else { 40 }
}

/// Drafts the headers between two addresses.
#[inline(always)]
fn draw(h: &mut Head, p: &Packet, ends: (&Addr, &Addr), tcp: [u32; 4]) {
    header::between(h, p.v4, ends, TCP, LENGTH);
    let mut sum = packet::pseudo_sum(ends.0, ends.1, TCP, u32::from(LENGTH));
    // A device that was to fill in the segment's checksum fills in this one, over the sum of the
    // pseudo header.
    let field = if p.sum_is_unfinished() {
        csum::fold(sum)
    } else {
        let mut i = 0;
        while i < 4 {
            sum = csum::add(sum, tcp[i]);
            i += 1;
        }
        !csum::fold(sum)
    };
    let at = if p.v4 { 5 } else { 10 };
    h[at] = tcp[0];
    h[at + 1] = tcp[1];
    h[at + 2] = tcp[2];
    h[at + 3] = tcp[3];
    h[at + 4] = word(field, 0);
}
