//! What the first fragment of a packet leaves for the later ones (`lb_fragments`), which have no
//! ports: with its ports they go the way that it went.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_ANY},
    helpers::bpf_skb_load_bytes,
};
use lb_common::fragment::{Fragment, FragmentKey, lifetime_ns};

use crate::{
    flow, lookup, lru,
    maps::FRAGMENTS,
    packet::{Net, Packet, fragment},
    scratch,
};

/// What a fragment is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Read {
    /// Now in this CPU's room, with ports.
    Packet,
    /// The same; and its packet's first fragment was left to the stack to be fragmented further.
    ForStack,
    /// Another protocol's, a first one without its whole transport header, or a later one whose
    /// first one has not come.
    Unknown,
    /// A later one for a VIP, whose first one has not come: it can only be ours.
    Lost,
}

/// Reads a fragment, or a whole packet, into this CPU's room ([`scratch::held`]). In IPv6 so many bytes stand before its
/// header. Not inlined, since it is rare.
#[inline(never)]
pub fn read(skb: *mut __sk_buff, net: Net, before: u32) -> Read {
    let Some(p) = scratch::room() else {
        return Read::Unknown;
    };
    let Some(id) = fragment::parse(skb, net, before, p) else {
        return Read::Unknown;
    };
    let key = key(p, id);
    if p.is_later() {
        let Some(first) = find(&key, p.v4) else {
            return if lookup::is_vip(&p.dst) {
                Read::Lost
            } else {
                Read::Unknown
            };
        };
        (p.sport, p.dport) = (first.sport, first.dport);
        if first.to_stack != 0 {
            return Read::ForStack;
        }
    } else if p.is_fragment() {
        let first = Fragment {
            seen_ns: flow::now(),
            sport: p.sport,
            dport: p.dport,
            to_stack: 0,
        };
        // A full LRU evicts; a failure loses the later fragments, which are counted.
        let _ = lru::insert(&FRAGMENTS, &key, &first, BPF_ANY);
    }
    Read::Packet
}

/// Has the later fragments of this first one follow it into the stack. For IPv4 alone: routers do
/// not fragment IPv6.
#[inline(always)]
pub fn send_all_to_stack(skb: *mut __sk_buff, p: &Packet) {
    let mut id = 0u16;
    // SAFETY: two bytes of ours; the helper checks the buffer.
    let read = unsafe { bpf_skb_load_bytes(skb.cast(), p.net + 4, (&raw mut id).cast(), 2) };
    if read != 0 {
        return;
    }
    if let Some(first) = FRAGMENTS.get_ptr_mut(&key(p, u32::from(id))) {
        // SAFETY: a map element that lives while the program runs; one aligned store. Should the
        // element be another packet's by now, that one's fragments go by the stack.
        unsafe { core::ptr::write_volatile(&raw mut (*first).to_stack, 1) };
    }
}

#[inline(always)]
fn key(p: &Packet, id: u32) -> FragmentKey {
    FragmentKey {
        src: p.src,
        dst: p.dst,
        id,
        proto: p.proto,
        pad: [0; 3],
    }
}

/// The record of a packet whose first fragment came not too long ago.
#[inline(always)]
fn find(key: &FragmentKey, v4: bool) -> Option<Fragment> {
    let ptr = FRAGMENTS.get_ptr(key)?;
    // SAFETY: a map element that lives while the program runs; its fields are aligned.
    let first = unsafe { core::ptr::read_volatile(ptr) };
    // An element may be given to another key while it is read: then it is not found again.
    if FRAGMENTS.get_ptr(key)? != ptr {
        return None;
    }
    (flow::now().wrapping_sub(first.seen_ns) < lifetime_ns(v4)).then_some(first)
}
