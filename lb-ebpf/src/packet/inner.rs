//! ICMP errors that others send, read by the packet that they quote. Read by helpers, since headers
//! of any length stand before what is looked for, and none of it is on the way of most packets.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_load_bytes};
use lb_common::Addr;

use super::{
    ICMP, ICMPV6, Net, Packet, SCTP, TCP, UDP,
    access::{same, v4},
    extension::{self, Behind, Chain as _},
    fragment::{DONT_FRAGMENT, MORE, OFFSET},
};

/// Bytes of an ICMP header.
pub const HEADER: u32 = 8;

/// What an error quotes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Quote {
    /// The sender of the error.
    pub from: Addr,
    /// Offset of the quoted network header, which stands behind the error's own header.
    pub at: u32,
    /// Offset of the end of the error.
    pub end: u32,
    /// Bytes from the quoted ports on that the packet had, of which fewer may be quoted.
    pub l4_len: u32,
}

/// Reads an ICMP error about a TCP segment, a UDP datagram or an SCTP packet, in the first `whole`
/// bytes from the network header on; `room` and `quote` are written over. `None` for any other ICMP,
/// for fragments of errors, and for quotes too short.
///
/// Returns a packet that would answer the quoted one: its tuple is the quoted one turned round.
/// `ttl`, `len` and `net` are those of the error itself, `l4` is where the quoted ports stand.
#[inline(always)]
pub fn parse(
    skb: *mut __sk_buff,
    net: Net,
    whole: u32,
    ifindex: u32,
    room: &mut Words,
    quote: &mut Quote,
) -> Option<Packet> {
    let outer = header(skb, net, room)?;
    let (number, last) = if net.v4 { (ICMP, 12) } else { (ICMPV6, 4) };
    if outer.proto != number || outer.fragment != 0 || outer.len > whole {
        return None;
    }
    let icmp = net.at + outer.bytes;
    let kind = load::<u8>(skb, icmp)?;
    // Unreachable, time exceeded, parameter problem; in IPv6 also too big.
    if kind > last
        || if net.v4 {
            kind != 3 && kind < 11
        } else {
            kind == 0
        }
    {
        return None;
    }
    // Noted here and not at the end, so that it lies on no stack meanwhile.
    quote.from = outer.src;
    quote.at = icmp + HEADER;
    quote.end = net.at + outer.len;
    let quoted = header(
        skb,
        Net {
            at: quote.at,
            ..net
        },
        room,
    )?;
    quote.l4_len = quoted.len.wrapping_sub(quoted.bytes);
    let l4 = quote.at + quoted.bytes;
    // Eight bytes are quoted at least (RFC 792); of a packet in fragments, the first one. An error
    // goes to the sender of what it quotes.
    if l4 + 8 > quote.end
        || quoted.fragment & OFFSET != 0
        || !matches!(quoted.proto, TCP | UDP | SCTP)
        || !same(&outer.dst, &quoted.src)
    {
        return None;
    }
    let [sport, dport] = load::<[u16; 2]>(skb, l4)?;
    Some(Packet {
        src: quoted.dst,
        dst: quoted.src,
        sport: u16::from_be(dport),
        dport: u16::from_be(sport),
        proto: quoted.proto,
        flags: 0,
        number: 0,
        l4_len: 8,
        ttl: outer.ttl,
        v4: net.v4,
        header_sum: 0,
        sum: 0,
        len: outer.len,
        fragment: DONT_FRAGMENT,
        net: net.at,
        l4,
        ifindex,
    })
}

/// Room for a network header.
pub type Words = [u32; 10];

/// A network header, of the error or of what it quotes.
struct Header {
    src: Addr,
    dst: Addr,
    proto: u8,
    ttl: u8,
    /// Bytes from it on, by its own word.
    len: u32,
    /// Its own, with options or extension headers.
    bytes: u32,
    /// Offset of a fragment, and whether more follow; 0 in IPv6, where another header says so.
    fragment: u16,
}

#[inline(always)]
fn header(skb: *mut __sk_buff, net: Net, words: &mut Words) -> Option<Header> {
    let length = net.shortest();
    // SAFETY: no more bytes than there is room for; the helper checks the buffer.
    if unsafe { bpf_skb_load_bytes(skb.cast(), net.at, words.as_mut_ptr().cast(), length) } != 0 {
        return None;
    }
    let [version, _, high, low] = words[0].to_ne_bytes();
    if net.v4 {
        let [.., flags, offset] = words[1].to_ne_bytes();
        let [ttl, proto, ..] = words[2].to_ne_bytes();
        let bytes = u32::from(version & 0xf) << 2;
        if version >> 4 != 4 || bytes < length {
            return None;
        }
        return Some(Header {
            src: v4(words[3]),
            dst: v4(words[4]),
            proto,
            ttl,
            len: u32::from(u16::from_be_bytes([high, low])),
            bytes,
            fragment: u16::from_be_bytes([flags, offset]) & (MORE | OFFSET),
        });
    }
    if version >> 4 != 6 {
        return None;
    }
    let [high, low, next, ttl] = words[1].to_ne_bytes();
    let Behind { proto, header } = if extension::is_passed_over(next) {
        skb.behind(net, next).ok()?
    } else {
        Behind {
            proto: next,
            header: length,
        }
    };
    Some(Header {
        src: Addr::from_words([words[2], words[3], words[4], words[5]]),
        dst: Addr::from_words([words[6], words[7], words[8], words[9]]),
        proto,
        ttl,
        len: u32::from(u16::from_be_bytes([high, low])) + length,
        bytes: header,
        fragment: 0,
    })
}

/// Bytes at an offset; `None` if the packet ends before.
#[inline(always)]
fn load<T: Copy>(skb: *mut __sk_buff, at: u32) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes all of the value, of which any bits are valid, or fails.
    unsafe {
        let rc = bpf_skb_load_bytes(
            skb.cast(),
            at,
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
        );
        (rc == 0).then(|| value.assume_init())
    }
}
