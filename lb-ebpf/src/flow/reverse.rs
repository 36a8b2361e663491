//! The reverse entry of a flow: verified, made again, promoted together with the forward entry.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use lb_common::{
    Reason,
    flow::{direction, seen},
};

use super::{Entry, FlowTable, bits, find, find_established, now};
use crate::{count::count, packet::Packet, scratch::Scratch};

/// The reverse entry of the forward entry in `s.flow`, which is in `table`: the one there is, or
/// made again if it was lost. `None` if its tuple is another flow's by now.
#[inline(always)]
pub fn verified_reverse(p: &Packet, s: &mut Scratch, table: FlowTable) -> Option<Entry> {
    s.reverse_key = s.flow.reverse_key(p.proto);
    if let Some(reverse) = find(&s.reverse_key) {
        return (reverse.generation() == s.flow.generation).then_some(reverse);
    }
    if let Some(reverse) = find_established(&s.reverse_key) {
        return (reverse.generation() == s.flow.generation).then_some(reverse);
    }
    fill_reverse(p, s);
    if table
        .insert(&s.reverse_key, &s.reverse, BPF_NOEXIST)
        .is_err()
    {
        count(Reason::FlowInsertFailed);
        return None;
    }
    // Another flow that claims the tuple in the other map looks here afterwards, and gives way; so
    // does this one.
    if table.other().get(&s.reverse_key).is_some() {
        table.remove(&s.reverse_key);
        return None;
    }
    count(Reason::FlowRepaired);
    find(&s.reverse_key)
}

/// Fills `s.reverse` for the forward entry in `s.flow` and the packet that it translates.
#[inline(always)]
pub fn fill_reverse(p: &Packet, s: &mut Scratch) {
    s.reverse.src = p.dst;
    s.reverse.dst = p.src;
    s.reverse.sport = p.dport;
    s.reverse.dport = p.sport;
    s.reverse.ifindex = p.ifindex;
    s.reverse.pool = s.flow.pool;
    s.reverse.backend = s.flow.backend;
    s.reverse.generation = s.flow.generation;
    s.reverse.direction = direction::REPLY;
    s.reverse.flags = s.flow.flags;
    s.reverse.client = bits(p);
    s.reverse.server = 0;
    s.reverse.last_seen_ns = now();
}

/// Moves a flow that both sides have confirmed to `lb_flows`: inserts both entries there, then
/// deletes the new ones.
#[inline(always)]
pub fn promote(p: &Packet, s: &mut Scratch, table: FlowTable, reverse: &Entry) {
    let (new, reverse_new) = (table == FlowTable::New, reverse.table == FlowTable::New);
    if !new && !reverse_new {
        return;
    }
    // SAFETY: a map element that lives while the program runs; one load.
    let server = unsafe { core::ptr::read_volatile(&raw const (*reverse.ptr).server) };
    if server & seen::PACKET == 0 || p.has_syn() {
        return;
    }
    if reverse_new {
        reverse.copy_to(&mut s.reverse);
        if s.reverse.generation != s.flow.generation
            || FlowTable::Established
                .insert(&s.reverse_key, &s.reverse, BPF_ANY)
                .is_err()
        {
            count(Reason::FlowInsertFailed);
            return;
        }
    }
    if new
        && FlowTable::Established
            .insert(&s.key, &s.flow, BPF_ANY)
            .is_err()
    {
        count(Reason::FlowInsertFailed);
        return;
    }
    if new {
        FlowTable::New.remove(&s.key);
    }
    if reverse_new {
        FlowTable::New.remove(&s.reverse_key);
    }
}

/// Removes both entries of the flow of `s.key` and `s.reverse_key`.
#[inline(always)]
pub fn forget(s: &Scratch, table: FlowTable, reverse: Option<&Entry>) {
    table.remove(&s.key);
    if let Some(reverse) = reverse {
        reverse.table.remove(&s.reverse_key);
    }
}
