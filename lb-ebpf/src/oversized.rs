//! Packets that the stack fragments, since programs cannot (`lb_oversized`). It gets them with their
//! destination rewritten alone, for with a source of this node it would drop them as martians. Where
//! they leave, a mark says which entry has the source that they get.

use aya_ebpf::bindings::__sk_buff;
use lb_common::{
    flow::Flow,
    fragment::{OVERSIZED as ENTRIES, Oversized},
};

use crate::{
    atomic, fragment,
    maps::OVERSIZED,
    mark,
    packet::{Packet, same},
};

/// Notes what becomes of the packet's source, takes that from `flow`, and marks the packet: `flow`
/// then says what it becomes now. False if it cannot go this way.
#[inline(always)]
pub fn divert(skb: *mut __sk_buff, p: &Packet, flow: &mut Flow) -> bool {
    let Some(first) = OVERSIZED.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a map element that lives while the program runs; an aligned u64.
    let count = unsafe { atomic::fetch_add(&raw mut (*first).count, 1) };
    let slot = count as u32 & (ENTRIES - 1);
    let Some(entry) = OVERSIZED.get_ptr_mut(slot) else {
        return false;
    };
    // SAFETY: a map element that lives while the program runs. The entry's former packet left long
    // ago: so many others came since.
    unsafe {
        (*entry).src = flow.src;
        (*entry).dst = flow.dst;
        (*entry).sport = flow.sport;
        (*entry).proto = p.proto;
    }
    flow.src = p.src;
    flow.sport = p.sport;
    mark::oversized(skb, slot);
    if p.is_fragment() && !p.is_later() {
        fragment::send_all_to_stack(skb, p);
    }
    true
}

/// What becomes of a packet that was marked with this entry, or of a fragment of it, on its way out.
/// False if the entry is another packet's.
#[inline(always)]
pub fn finish(p: &Packet, slot: u32, flow: &mut Flow) -> bool {
    let Some(entry) = OVERSIZED.get_ptr(slot) else {
        return false;
    };
    // SAFETY: a map element that lives while the program runs, copied field by field.
    let entry: Oversized = unsafe { core::ptr::read_volatile(entry) };
    flow.src = entry.src;
    flow.sport = entry.sport;
    flow.dst = p.dst;
    flow.dport = p.dport;
    entry.proto == p.proto && same(&entry.dst, &p.dst)
}
