//! One entry of a flow: found, copied, verified, and what packets note in it.

use core::mem::offset_of;

use lb_common::flow::{self, Flow, FlowKey, flags, seen};

use super::{FlowTable, tally};
use crate::{atomic, packet::Packet};

/// An entry that was found. Its element may be given to another key at any time, so what is read is
/// verified.
#[derive(Clone, Copy)]
pub struct Entry {
    pub ptr: *mut Flow,
    pub table: FlowTable,
}

/// The entry of a tuple. One on its way from `lb_newflows` to `lb_flows` may be missed: see
/// [`find_established`].
#[inline(always)]
pub fn find(key: &FlowKey) -> Option<Entry> {
    match find_established(key) {
        Some(entry) => Some(entry),
        None => find_in(FlowTable::New, key),
    }
}

/// The entry in `lb_flows`. Call it again after a miss in both maps, since a promotion inserts
/// before it deletes.
#[inline(always)]
pub fn find_established(key: &FlowKey) -> Option<Entry> {
    find_in(FlowTable::Established, key)
}

#[inline(always)]
fn find_in(table: FlowTable, key: &FlowKey) -> Option<Entry> {
    let ptr = table.get(key)?;
    Some(Entry { ptr, table })
}

/// Copies the entry of a key, and returns it.
#[inline(always)]
pub fn read(key: &FlowKey, flow: &mut Flow) -> Option<Entry> {
    find(key)?.current(key, flow)
}

impl Entry {
    /// Copies the entry word by word.
    #[inline(always)]
    pub fn copy_to(&self, flow: &mut Flow) {
        let (from, to) = (
            self.ptr.cast::<u64>(),
            core::ptr::from_mut(flow).cast::<u64>(),
        );
        let mut i = 0;
        while i < size_of::<Flow>() / 8 {
            // SAFETY: eight words of a map element that lives while the program runs, into eight
            // words of ours.
            unsafe { to.add(i).write(core::ptr::read_volatile(from.add(i))) };
            i += 1;
        }
    }

    #[inline(always)]
    pub fn generation(&self) -> u32 {
        // SAFETY: a map element that lives while the program runs; one aligned load.
        unsafe { core::ptr::read_volatile(&raw const (*self.ptr).generation) }
    }

    /// Is this still the entry of `key`, as it was copied to `flow`? Call it after
    /// [`Entry::copy_to`]: an element that was given to another key meanwhile is not found here.
    #[inline(always)]
    pub fn still(&self, key: &FlowKey, flow: &Flow) -> bool {
        let Self { ptr: _, table } = *self;
        match table.get(key) {
            Some(ptr) => {
                flow.generation != 0 && Self { ptr, table }.generation() == flow.generation
            }
            None => false,
        }
    }

    /// Copies the entry of `key`, which this one is or was, and returns it: a promotion may have
    /// moved it meanwhile. `None` if it is gone.
    #[inline(always)]
    pub fn current(&self, key: &FlowKey, flow: &mut Flow) -> Option<Self> {
        self.copy_to(flow);
        if self.still(key, flow) {
            return Some(*self);
        }
        let moved = find_established(key)?;
        moved.copy_to(flow);
        moved.still(key, flow).then_some(moved)
    }

    /// Notes a packet of the client's side in a reply entry.
    #[inline(always)]
    pub fn client_sent(&self, p: &Packet, now: u64) {
        let (client, server) = self.sides();
        let mut bits = flow::after(client, server, p.event());
        if bits & seen::DATA == 0 && self.is_shown_by_client(p, server, now) {
            bits |= seen::DATA;
        }
        if bits != client {
            // SAFETY: a map element that lives while the program runs; only packets of the client's
            // side write this byte.
            unsafe { core::ptr::write_volatile(&raw mut (*self.ptr).client, bits) };
            tally::moved(
                self.peek().backend,
                (client, server),
                (bits, server),
                p.connects(),
            );
        }
        self.touch(now);
    }

    /// Does this packet of the client's show that the flow is open on both sides?
    #[inline(always)]
    fn is_shown_by_client(&self, p: &Packet, server: u8, now: u64) -> bool {
        if !p.connects() {
            return server & seen::PACKET != 0 && flow::stream_began(self.proof(), now);
        }
        // Exactly that: what stands behind it would be data of the server, which shows it by itself.
        server & seen::PROOF != 0 && p.acknowledges() && p.number == self.proof()
    }

    /// Notes a packet of the server's side in a reply entry.
    #[inline(always)]
    pub fn server_sent(&self, p: &Packet, now: u64) {
        let (client, server) = self.sides();
        let mut bits = flow::after(server, client, p.event());
        if !p.connects() {
            if client & seen::PACKET != 0 && flow::stream_began(self.proof(), now) {
                bits |= seen::DATA;
            }
        } else if p.has_syn() && p.is_tcp() && self.table == FlowTable::Established {
            // It is confirmed: its age may stand where the proof was.
        } else if p.has_syn() {
            // What the client must acknowledge is written before the bit that says so.
            let proof = if p.is_sctp() {
                p.number
            } else {
                p.number.wrapping_add(1)
            };
            // SAFETY: a map element that lives while the program runs; an aligned store, which only
            // packets of the server's side make.
            unsafe { core::ptr::write_volatile(&raw mut (*self.ptr).proof, proof) };
            bits |= seen::PROOF;
        } else if p.shows_data() {
            bits |= seen::DATA;
        }
        if bits != server {
            // SAFETY: a map element that lives while the program runs; only packets of the server's
            // side write this byte.
            unsafe { core::ptr::write_volatile(&raw mut (*self.ptr).server, bits) };
            tally::moved(
                self.peek().backend,
                (client, server),
                (client, bits),
                p.connects(),
            );
        }
        self.touch(now);
    }

    /// Both sides were reset by us; call it for a reply entry.
    #[inline(always)]
    pub fn close(&self, p: &Packet, now: u64) {
        let before @ (client, server) = self.sides();
        let after = (client | seen::RST, server | seen::RST);
        // SAFETY: a map element that lives while the program runs; a packet of either side that
        // comes meanwhile writes its byte anew, and the next one of the client's is answered with a
        // reset again.
        unsafe {
            core::ptr::write_volatile(&raw mut (*self.ptr).client, after.0);
            core::ptr::write_volatile(&raw mut (*self.ptr).server, after.1);
        }
        tally::moved(self.peek().backend, before, after, p.connects());
        self.touch(now);
    }

    /// Notes in a reply entry of TCP in `lb_flows` that its age counts from now, unless it has one: no
    /// proof is written there any more.
    #[inline(always)]
    pub fn date(&self, now: u64) {
        if self.table != FlowTable::Established || self.peek().flags & flags::DATED != 0 {
            return;
        }
        const { assert!(offset_of!(Flow, direction).is_multiple_of(4)) };
        const { assert!(offset_of!(Flow, flags) == offset_of!(Flow, direction) + 1) };
        // SAFETY: a map element that lives while the program runs; an aligned store of the time, then
        // the bit that says so, in the aligned word that begins with `direction`. The element may be
        // another key's by now: a reply entry that was confirmed just now has the same age, and a
        // forward entry is verified once more and keeps the bit to itself.
        unsafe {
            core::ptr::write_volatile(&raw mut (*self.ptr).proof, flow::units(now));
            let word = (&raw mut (*self.ptr).direction).cast::<u32>();
            atomic::set_bits(word, u32::from(flags::DATED) << 8);
        }
    }

    /// What the client's and the server's side have done; call it for a reply entry.
    #[inline(always)]
    fn sides(&self) -> (u8, u8) {
        // SAFETY: a map element that lives while the program runs; two loads of a byte.
        unsafe {
            (
                core::ptr::read_volatile(&raw const (*self.ptr).client),
                core::ptr::read_volatile(&raw const (*self.ptr).server),
            )
        }
    }

    #[inline(always)]
    fn proof(&self) -> u32 {
        // SAFETY: a map element that lives while the program runs; one aligned load.
        unsafe { core::ptr::read_volatile(&raw const (*self.ptr).proof) }
    }

    /// The element itself, for questions that read a field or two; it may be given to another key
    /// meanwhile.
    #[inline(always)]
    pub fn peek(&self) -> &Flow {
        // SAFETY: a map element that lives while the program runs; any bits are a valid entry.
        unsafe { &*self.ptr }
    }

    /// The device that the client's packets come in on; call it for a reply entry.
    #[inline(always)]
    pub fn moved_to(&self, ifindex: u32) {
        // SAFETY: a map element that lives while the program runs; one aligned store, made only
        // when it differs.
        unsafe {
            if core::ptr::read_volatile(&raw const (*self.ptr).ifindex) != ifindex {
                core::ptr::write_volatile(&raw mut (*self.ptr).ifindex, ifindex);
            }
        }
    }

    /// Notes in the forward entry of `key`, copied to `flow`, that its reverse entry was verified,
    /// for a packet that came in on `ifindex`. The element may belong to another key by now. A time
    /// written to that one only delays its next verification, no longer than one holds; a device
    /// would stay there, so the key is looked up again first.
    #[inline(always)]
    pub fn mark_verified(&self, key: &FlowKey, flow: &Flow, ifindex: u32, now: u64) {
        let moved = flow.ifindex != ifindex && self.still(key, flow);
        // SAFETY: a map element that lives while the program runs; aligned stores.
        unsafe {
            if moved {
                core::ptr::write_volatile(&raw mut (*self.ptr).ifindex, ifindex);
            }
        }
        self.set_verified(now);
    }

    /// Notes in a forward entry when it was verified; 0: its next packet has to verify it.
    #[inline(always)]
    pub fn set_verified(&self, now: u64) {
        // SAFETY: a map element that lives while the program runs; its last eight bytes are one
        // aligned word, little-endian as on every machine that this is built for.
        unsafe { core::ptr::write_volatile((&raw mut (*self.ptr).proof).cast::<u64>(), now) };
    }

    #[inline(always)]
    fn touch(&self, now: u64) {
        let now = flow::units(now);
        // SAFETY: a map element that lives while the program runs; a lost race writes a time that
        // is as good.
        unsafe {
            if core::ptr::read_volatile(&raw const (*self.ptr).seen) != now {
                core::ptr::write_volatile(&raw mut (*self.ptr).seen, now);
            }
        }
    }
}
