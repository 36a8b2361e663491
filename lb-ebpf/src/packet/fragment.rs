//! Fragments: from the bytes of a socket buffer to a [`Packet`], by helpers, since they are rare.
//! Only the first one of a packet has its transport header.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_load_bytes};
use lb_common::Addr;

use super::{ACK, Net, Packet, SCTP, TCP, UDP, access::v4, sctp};

/// The number of the fragment header of IPv6.
pub const V6: u8 = 44;

/// Of a packet's place among the fragments (`Packet::fragment`), as the word of an IPv4 header has
/// it: routers may not fragment it.
pub const DONT_FRAGMENT: u16 = 1 << 14;
/// Others follow.
pub const MORE: u16 = 1 << 13;
/// Eights of bytes before it.
pub const OFFSET: u16 = MORE - 1;

/// Reads a fragment into `p`, and returns what its packet is known by; in IPv6 so many bytes stand
/// `before` its header. `None` for other protocols, for what is shorter than it says, for headers
/// that contradict each other, and for a first fragment that lacks some of its transport header. The
/// ports of a later one are 0.
#[inline(always)]
pub fn parse(skb: *mut __sk_buff, net: Net, before: u32, p: &mut Packet) -> Option<u32> {
    // SAFETY: fields of the program's own context.
    let (bytes, ifindex) = unsafe { ((*skb).len, (*skb).ifindex) };
    let id = if net.v4 {
        network_v4(skb, net, p)?
    } else {
        network_v6(skb, net, before, p)?
    };
    if p.len > bytes.wrapping_sub(net.at) {
        return None;
    }
    p.net = net.at;
    p.v4 = net.v4;
    p.ifindex = ifindex;
    p.sport = 0;
    p.dport = 0;
    p.flags = if p.proto == UDP { 0 } else { ACK };
    p.number = 0;
    p.l4_len = 0;
    p.sum = 0;
    let least = match p.proto {
        TCP => 20,
        UDP => 8,
        SCTP => sctp::READ,
        _ => return None,
    };
    if p.is_later() {
        return Some(id);
    }
    let l4: [u32; 5] = load(skb, p.l4, least)?;
    if p.len < p.l4 - p.net + least {
        return None;
    }
    let (sport, dport) = halves(l4[0]);
    (p.sport, p.dport) = (u16::from_be(sport), u16::from_be(dport));
    (p.flags, p.sum, p.l4_len) = match p.proto {
        TCP => (
            byte(l4[3], 1),
            u32::from(halves(l4[4]).0),
            (byte(l4[3], 0) >> 4) << 2,
        ),
        UDP => (0, u32::from(halves(l4[1]).1), 8),
        _ => (sctp::flags(byte(l4[3], 0)), l4[2], sctp::HEADER as u8),
    };
    p.number = match p.proto {
        UDP => 0,
        // What opens: its sequence number.
        TCP if p.has_syn() => u32::from_be(l4[1]),
        TCP => u32::from_be(l4[2]),
        _ => sctp_tag(skb, p, l4[1]),
    };
    Some(id)
}

/// The initiate tag of what opens, else the verification tag, which is `own`.
#[inline(always)]
fn sctp_tag(skb: *mut __sk_buff, p: &Packet, own: u32) -> u32 {
    let initiate: Option<[u32; 1]> = if p.has_syn() {
        load(skb, p.l4 + sctp::READ, 4)
    } else {
        None
    };
    match initiate {
        Some([tag]) => u32::from_be(tag),
        None => u32::from_be(own),
    }
}

/// What an IPv4 header says.
#[inline(always)]
fn network_v4(skb: *mut __sk_buff, net: Net, p: &mut Packet) -> Option<u32> {
    let h: [u32; 5] = load(skb, net.at, 20)?;
    let (id, place) = halves(h[1]);
    let header = u32::from(byte(h[0], 0) & 0xf) << 2;
    if byte(h[0], 0) >> 4 != 4 || header < 20 {
        return None;
    }
    p.src = v4(h[3]);
    p.dst = v4(h[4]);
    p.ttl = byte(h[2], 0);
    p.proto = byte(h[2], 1);
    p.header_sum = halves(h[2]).1;
    p.len = u32::from(u16::from_be(halves(h[0]).1));
    p.l4 = net.at + header;
    p.fragment = u16::from_be(place);
    Some(u32::from(id))
}

/// What an IPv6 header says, and the fragment header behind it.
#[inline(always)]
fn network_v6(skb: *mut __sk_buff, net: Net, before: u32, p: &mut Packet) -> Option<u32> {
    let h: [u32; 10] = load(skb, net.at, 40)?;
    if byte(h[0], 0) >> 4 != 6 {
        return None;
    }
    let f: [u32; 2] = load(skb, net.at + before, 8)?;
    let place = u16::from_be(halves(f[0]).1);
    let more = if place & 1 != 0 { MORE } else { 0 };
    p.src = Addr::from_words([h[2], h[3], h[4], h[5]]);
    p.dst = Addr::from_words([h[6], h[7], h[8], h[9]]);
    p.ttl = byte(h[1], 3);
    p.proto = byte(f[0], 0);
    p.header_sum = 0;
    p.len = u32::from(u16::from_be(halves(h[1]).0)) + 40;
    p.l4 = net.at + before + 8;
    // Routers never fragment IPv6.
    p.fragment = DONT_FRAGMENT | more | place >> 3;
    Some(f[1])
}

/// The first `len` bytes of words from the buffer, from this offset on.
#[inline(always)]
fn load<const N: usize>(skb: *mut __sk_buff, at: u32, len: u32) -> Option<[u32; N]> {
    let mut words = [0; N];
    let room = (N * 4) as u32;
    let len = if len < room { len } else { room };
    // SAFETY: no more than the words; the helper checks the buffer.
    let rc = unsafe { bpf_skb_load_bytes(skb.cast(), at, words.as_mut_ptr().cast(), len) };
    (rc == 0).then_some(words)
}

/// A byte of a word, by its place in memory.
#[inline(always)]
fn byte(word: u32, n: usize) -> u8 {
    word.to_ne_bytes()[n]
}

/// The halves of a word, in the order in which they stand.
#[inline(always)]
fn halves(word: u32) -> (u16, u16) {
    (word as u16, (word >> 16) as u16)
}
