//! One entry of a flow: found, copied, verified, and what packets note in it.

use lb_common::flow::{Flow, FlowKey};

use super::FlowTable;

/// Times of last packets are written no finer than this.
const SECOND: u64 = 1_000_000_000;

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
    pub fn client_sent(&self, bits: u8, now: u64) {
        // SAFETY: a map element that lives while the program runs; only packets of the client's
        // side write this byte.
        unsafe {
            let old = core::ptr::read_volatile(&raw const (*self.ptr).client);
            if old | bits != old {
                core::ptr::write_volatile(&raw mut (*self.ptr).client, old | bits);
            }
        }
        self.touch(now);
    }

    /// Notes a packet of the server's side in a reply entry.
    #[inline(always)]
    pub fn server_sent(&self, bits: u8, now: u64) {
        // SAFETY: a map element that lives while the program runs; only packets of the server's
        // side write this byte.
        unsafe {
            let old = core::ptr::read_volatile(&raw const (*self.ptr).server);
            if old | bits != old {
                core::ptr::write_volatile(&raw mut (*self.ptr).server, old | bits);
            }
        }
        self.touch(now);
    }

    /// Has the connection ended? Call it for a reply entry.
    #[inline(always)]
    pub fn is_closed(&self) -> bool {
        // SAFETY: a map element that lives while the program runs.
        unsafe { (*self.ptr).is_closed() }
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
            core::ptr::write_volatile(&raw mut (*self.ptr).last_seen_ns, now);
        }
    }

    #[inline(always)]
    fn touch(&self, now: u64) {
        // SAFETY: a map element that lives while the program runs; a lost race writes a time that
        // is as good.
        unsafe {
            let last = core::ptr::read_volatile(&raw const (*self.ptr).last_seen_ns);
            if now.wrapping_sub(last) > SECOND {
                core::ptr::write_volatile(&raw mut (*self.ptr).last_seen_ns, now);
            }
        }
    }
}
