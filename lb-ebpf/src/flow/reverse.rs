//! The reverse entry of a flow: verified, made again, promoted together with the forward entry.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use lb_common::{
    Reason,
    flow::{self, direction, flags, seen},
};

use super::{Entry, FlowTable, find, find_established, tally};
use crate::{count::count, packet::Packet, scratch::Scratch};

/// The reverse entry of the forward entry in `s.flow`, which is in `table`: the one there is, or
/// made again if it was lost. `None` if its tuple is another flow's by now.
#[inline(always)]
pub fn verified_reverse(p: &Packet, s: &mut Scratch, table: FlowTable, now: u64) -> Option<Entry> {
    s.reverse_key = s.flow.reverse_key(p.proto);
    if let Some(reverse) = find(&s.reverse_key) {
        return (reverse.generation() == s.flow.generation).then_some(reverse);
    }
    if let Some(reverse) = find_established(&s.reverse_key) {
        return (reverse.generation() == s.flow.generation).then_some(reverse);
    }
    fill_reverse(p, s, now);
    if table == FlowTable::Established {
        // Both sides had shown it to be open.
        s.reverse.client |= seen::DATA;
    }
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
pub fn fill_reverse(p: &Packet, s: &mut Scratch, now: u64) {
    s.reverse.src = p.dst;
    s.reverse.dst = p.src;
    s.reverse.sport = p.dport;
    s.reverse.dport = p.sport;
    s.reverse.ifindex = p.ifindex;
    s.reverse.pool = s.flow.pool;
    s.reverse.backend = s.flow.backend;
    s.reverse.generation = s.flow.generation;
    s.reverse.direction = direction::REPLY;
    s.reverse.flags = s.flow.flags & !flags::DATED;
    s.reverse.client = flow::after(0, 0, p.event());
    s.reverse.server = 0;
    s.reverse.proof = flow::began(now);
    s.reverse.seen = flow::units(now);
}

/// Moves a flow that is confirmed to `lb_flows`: inserts both entries there, then deletes the new
/// ones. True if it is the packet that has confirmed it.
#[inline(always)]
pub fn promote(p: &Packet, s: &mut Scratch, table: FlowTable, reverse: &Entry) -> bool {
    let (new, reverse_new) = (table == FlowTable::New, reverse.table == FlowTable::New);
    if !new && !reverse_new {
        return false;
    }
    if p.has_syn() || !reverse.peek().is_confirmed() {
        return false;
    }
    if reverse_new {
        reverse.copy_to(&mut s.reverse);
        if s.reverse.generation != s.flow.generation
            || FlowTable::Established
                .insert(&s.reverse_key, &s.reverse, BPF_ANY)
                .is_err()
        {
            count(Reason::FlowInsertFailed);
            return false;
        }
    }
    if new
        && FlowTable::Established
            .insert(&s.key, &s.flow, BPF_ANY)
            .is_err()
    {
        count(Reason::FlowInsertFailed);
        return false;
    }
    if new {
        FlowTable::New.remove(&s.key);
    }
    if reverse_new {
        FlowTable::New.remove(&s.reverse_key);
    }
    true
}

/// Removes both entries of the flow of `s.key` and `s.reverse_key`.
#[inline(always)]
pub fn forget(s: &Scratch, table: FlowTable, reverse: Option<&Entry>) {
    table.remove(&s.key);
    if let Some(reverse) = reverse {
        let gone = tally::Counted::of(reverse.peek());
        if reverse.table.remove(&s.reverse_key) {
            tally::closed(gone, s.reverse_key.proto);
        }
    }
}

/// The next packet of the client's side looks at the reply entry, which is in `s.flow`, again: its
/// server has finished.
#[inline(always)]
pub fn unverify(p: &Packet, s: &mut Scratch) {
    s.reverse_key = s.flow.reverse_key(p.proto);
    if let Some(forward) = find(&s.reverse_key) {
        forward.set_verified(0);
    }
}
