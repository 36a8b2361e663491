//! Flow records and their twins: found, repaired, promoted. Owns the writes to `lb_flows`, `lb_newflows` and
//! `lb_snat_peers`; knows nothing of services.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::bpf_ktime_get_coarse_ns,
};
use lb_common::{
    Reason,
    flow::{Flow, FlowKey, flags, kind, seen},
    select,
};

pub mod snat_port;

use crate::{
    config,
    count::count,
    maps::{FLOWS, NEWFLOWS, SNAT_PEERS},
    packet::Packet,
    scratch::Scratch,
};

/// Times of last packets are written no finer than this.
const SECOND: u64 = 1_000_000_000;

/// A record that was found; its element may be given to another key at any time, so what is read is verified.
#[derive(Clone, Copy)]
pub struct Found {
    pub ptr: *mut Flow,
    /// In `lb_newflows`.
    pub new: bool,
}

/// `CLOCK_MONOTONIC`, as coarse as a tick. Linux 5.11.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The record of a tuple. A record on its way from `lb_newflows` to `lb_flows` may be missed: see [`find_moved`].
#[inline(always)]
pub fn find(key: &FlowKey) -> Option<Found> {
    if let Some(found) = find_moved(key) {
        return Some(found);
    }
    let ptr = NEWFLOWS.get_ptr_mut(key)?;
    Some(Found { ptr, new: true })
}

/// Copies the record of a key, and tells which of the two maps it stands in.
#[inline(always)]
pub fn read(key: &FlowKey, flow: &mut Flow) -> Option<Found> {
    find(key)?.current(key, flow)
}

/// The record in `lb_flows`: to be asked again by whoever missed in both, since a promotion inserts before it deletes.
#[inline(always)]
pub fn find_moved(key: &FlowKey) -> Option<Found> {
    let ptr = FLOWS.get_ptr_mut(key)?;
    Some(Found { ptr, new: false })
}

impl Found {
    /// Copies the record word by word.
    #[inline(always)]
    pub fn copy_to(&self, flow: &mut Flow) {
        let (from, to) = (
            self.ptr.cast::<u64>(),
            core::ptr::from_mut(flow).cast::<u64>(),
        );
        let mut i = 0;
        while i < size_of::<Flow>() / 8 {
            // SAFETY: eight words of a map element that lives while the program runs, into eight words of ours.
            unsafe { to.add(i).write(core::ptr::read_volatile(from.add(i))) };
            i += 1;
        }
    }

    #[inline(always)]
    pub fn generation(&self) -> u32 {
        // SAFETY: a map element that lives while the program runs; one aligned load.
        unsafe { core::ptr::read_volatile(&raw const (*self.ptr).generation) }
    }

    /// Is this still the record of `key`, as it was copied to `flow`? Asked after [`Found::copy_to`]: an element that was
    /// given to another key meanwhile is not found here.
    #[inline(always)]
    pub fn still(&self, key: &FlowKey, flow: &Flow) -> bool {
        let again = if self.new {
            NEWFLOWS.get_ptr_mut(key)
        } else {
            FLOWS.get_ptr_mut(key)
        };
        match again {
            Some(ptr) => {
                flow.generation != 0 && Found { ptr, new: self.new }.generation() == flow.generation
            }
            None => false,
        }
    }

    /// Copies the record of `key`, which this one is or was, and tells which: a promotion may have moved it meanwhile. `None` if
    /// it is gone.
    #[inline(always)]
    pub fn current(&self, key: &FlowKey, flow: &mut Flow) -> Option<Self> {
        self.copy_to(flow);
        if self.still(key, flow) {
            return Some(*self);
        }
        let moved = find_moved(key)?;
        moved.copy_to(flow);
        moved.still(key, flow).then_some(moved)
    }

    /// Notes a packet of the client's side in a reply record.
    #[inline(always)]
    pub fn client_sent(&self, bits: u8, now: u64) {
        // SAFETY: a map element that lives while the program runs; only packets of the client's side write this byte.
        unsafe {
            let old = core::ptr::read_volatile(&raw const (*self.ptr).client);
            if old | bits != old {
                core::ptr::write_volatile(&raw mut (*self.ptr).client, old | bits);
            }
        }
        self.touch(now);
    }

    /// Notes a packet of the server's side in a reply record.
    #[inline(always)]
    pub fn server_sent(&self, bits: u8, now: u64) {
        // SAFETY: a map element that lives while the program runs; only packets of the server's side write this byte.
        unsafe {
            let old = core::ptr::read_volatile(&raw const (*self.ptr).server);
            if old | bits != old {
                core::ptr::write_volatile(&raw mut (*self.ptr).server, old | bits);
            }
        }
        self.touch(now);
    }

    /// A connection that has ended; asked of a reply record.
    #[inline(always)]
    pub fn is_closed(&self) -> bool {
        // SAFETY: a map element that lives while the program runs.
        unsafe { (*self.ptr).is_closed() }
    }

    /// The device that the client's packets come in on; asked of a reply record.
    #[inline(always)]
    pub fn moved_to(&self, ifindex: u32) {
        // SAFETY: a map element that lives while the program runs; one aligned store, made only when it differs.
        unsafe {
            if core::ptr::read_volatile(&raw const (*self.ptr).ifindex) != ifindex {
                core::ptr::write_volatile(&raw mut (*self.ptr).ifindex, ifindex);
            }
        }
    }

    /// Notes in the forward record of `key`, copied to `flow`, that its reply record was looked at, for a packet that came in
    /// on `ifindex`. A time that is written to an element which belongs to another key meanwhile puts off that one's next
    /// look, no longer than a proof holds; a device would stay there, so the element is looked for again first.
    #[inline(always)]
    pub fn prove(&self, key: &FlowKey, flow: &Flow, ifindex: u32, now: u64) {
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
        // SAFETY: a map element that lives while the program runs; a lost race writes a time that is as good.
        unsafe {
            let last = core::ptr::read_volatile(&raw const (*self.ptr).last_seen_ns);
            if now.wrapping_sub(last) > SECOND {
                core::ptr::write_volatile(&raw mut (*self.ptr).last_seen_ns, now);
            }
        }
    }
}

/// May the packet go by the forward record in `s.flow` alone? Its reply record was looked at lately, and nothing that this
/// packet says would have to be noted there.
#[inline(always)]
pub fn goes_alone(p: &Packet, s: &Scratch, found: &Found, now: u64) -> bool {
    !found.new
        && p.changes_nothing()
        && s.flow.ifindex == p.ifindex
        && s.flow.is_proved(now)
        && found.still(&s.key, &s.flow)
}

/// What a packet does to the state of its side.
#[inline(always)]
pub fn bits(p: &Packet) -> u8 {
    let mut bits = seen::PACKET;
    if p.is_fin() {
        bits |= seen::FIN;
    }
    if p.is_rst() {
        bits |= seen::RST;
    }
    if !p.has_syn() {
        bits |= seen::DATA;
    }
    bits
}

/// The reply record that belongs to the forward record in `s.flow` (of the map `new` says): the one there is, or made again
/// if it was lost. `None` if its tuple is another flow's by now.
#[inline(always)]
pub fn verified_twin(p: &Packet, s: &mut Scratch, new: bool) -> Option<Found> {
    s.twin_key = s.flow.twin_key(p.proto);
    if let Some(twin) = find(&s.twin_key) {
        return (twin.generation() == s.flow.generation).then_some(twin);
    }
    if let Some(twin) = find_moved(&s.twin_key) {
        return (twin.generation() == s.flow.generation).then_some(twin);
    }
    reply_record(p, s);
    let (here, there) = (insert(new, &s.twin_key, &s.twin, BPF_NOEXIST), !new);
    if here.is_err() {
        count(Reason::FlowInsertFailed);
        return None;
    }
    // Who claims in the other map looks here afterwards, and gives way; so do we.
    let other = if there {
        NEWFLOWS.get_ptr_mut(&s.twin_key)
    } else {
        FLOWS.get_ptr_mut(&s.twin_key)
    };
    if other.is_some() {
        remove(new, &s.twin_key);
        return None;
    }
    count(Reason::FlowRepaired);
    find(&s.twin_key)
}

/// Fills `s.twin` for the forward record in `s.flow` and the packet that it translates.
#[inline(always)]
pub fn reply_record(p: &Packet, s: &mut Scratch) {
    s.twin.src = p.dst;
    s.twin.dst = p.src;
    s.twin.sport = p.dport;
    s.twin.dport = p.sport;
    s.twin.ifindex = p.ifindex;
    s.twin.service = s.flow.service;
    s.twin.backend = s.flow.backend;
    s.twin.generation = s.flow.generation;
    s.twin.kind = kind::REPLY;
    s.twin.flags = s.flow.flags;
    s.twin.client = bits(p);
    s.twin.server = 0;
    s.twin.last_seen_ns = now();
}

/// Moves a flow that both sides have confirmed to `lb_flows`: inserts both records there, then deletes the new ones.
#[inline(always)]
pub fn promote(p: &Packet, s: &mut Scratch, new: bool, twin: &Found) {
    if !new && !twin.new {
        return;
    }
    // SAFETY: a map element that lives while the program runs; one load.
    let server = unsafe { core::ptr::read_volatile(&raw const (*twin.ptr).server) };
    if server & seen::PACKET == 0 || p.has_syn() {
        return;
    }
    if twin.new {
        twin.copy_to(&mut s.twin);
        if s.twin.generation != s.flow.generation
            || insert(false, &s.twin_key, &s.twin, BPF_ANY).is_err()
        {
            count(Reason::FlowInsertFailed);
            return;
        }
    }
    if new && insert(false, &s.key, &s.flow, BPF_ANY).is_err() {
        count(Reason::FlowInsertFailed);
        return;
    }
    if new {
        remove(true, &s.key);
    }
    if twin.new {
        remove(true, &s.twin_key);
    }
}

/// Forgets the flow of `s.key` and `s.twin_key`, whichever maps its records stand in.
#[inline(always)]
pub fn forget(s: &Scratch, new: bool, twin: Option<&Found>) {
    remove(new, &s.key);
    if let Some(twin) = twin {
        remove(twin.new, &s.twin_key);
    }
}

/// Remembers that the backend of `s.twin_key` answers to an address of ours.
#[inline(always)]
pub fn remember_peer(s: &mut Scratch) {
    let port = s.twin_key.dport;
    s.twin_key.dport = 0;
    // SAFETY: presence alone is read.
    if unsafe { SNAT_PEERS.get(&s.twin_key) }.is_none() {
        // A full LRU evicts; a failure means that a late packet of this backend may reach the stack.
        let _ = SNAT_PEERS.insert(&s.twin_key, 1u32, u64::from(BPF_ANY));
    }
    s.twin_key.dport = port;
}

/// Are connections that were opened elsewhere being adopted just now? Asked only for segments that belong to no record.
#[inline(always)]
pub fn adopting() -> bool {
    FLOWS.get_ptr_mut(&FlowKey::ADOPTING).is_some()
}

/// Is this port (host order) one of our own range?
#[inline(always)]
pub fn in_range(port: u16) -> bool {
    let port = u32::from(port);
    port >= config::snat_port_min() && port <= config::snat_port_max()
}

/// Was this sent to a port of our own range by a backend that we rewrote sources for?
#[inline(always)]
pub fn is_stray_reply(p: &Packet, s: &mut Scratch) -> bool {
    if !in_range(p.dport) {
        return false;
    }
    s.key.dport = 0;
    // SAFETY: presence alone is read.
    let known = unsafe { SNAT_PEERS.get(&s.key) }.is_some();
    s.key.dport = p.dport;
    known
}

/// A number that is the same for each packet of a flow, on every node.
#[inline(always)]
pub fn hash(p: &Packet) -> u32 {
    let (s, d) = (p.src.words(), p.dst.words());
    let ports = u32::from(p.sport) << 16 | u32::from(p.dport);
    select::hash([
        s[0],
        s[1],
        s[2],
        s[3],
        d[0],
        d[1],
        d[2],
        d[3],
        ports,
        u32::from(p.proto),
    ])
}

/// Is this the reply record of a backend on this node?
#[inline(always)]
pub fn is_local(flow: &Flow) -> bool {
    flow.flags & flags::LOCAL != 0
}

/// Does the client's side come over `lb0`?
#[inline(always)]
pub fn is_lb0(flow: &Flow) -> bool {
    flow.flags & flags::LB0 != 0
}

/// Writes a record to `lb_newflows` or to `lb_flows`.
#[inline(always)]
pub fn insert(new: bool, key: &FlowKey, flow: &Flow, how: u32) -> Result<(), i32> {
    if new {
        NEWFLOWS.insert(key, flow, u64::from(how))
    } else {
        FLOWS.insert(key, flow, u64::from(how))
    }
}

/// Removes a record from `lb_newflows` or from `lb_flows`.
#[inline(always)]
pub fn remove(new: bool, key: &FlowKey) {
    // What is gone already needs no removing.
    let _ = if new {
        NEWFLOWS.remove(key)
    } else {
        FLOWS.remove(key)
    };
}
