//! The entries of a new flow, made so that no two flows share a reply tuple, and none takes a
//! foreign connection's: the choice of the source port.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::{bpf_get_prandom_u32, bpf_loop},
};
use lb_common::{Reason, flow::PortRanges};

use super::{
    FlowTable, Standing, find, find_established, foreign, reverse::fill_reverse, snat_peer, tally,
};
use crate::{
    atomic, config,
    count::count,
    maps::PORTS,
    packet::{Packet, same},
    scratch::{PortSearch, Scratch},
};

const EEXIST: i32 = -17;
/// How many ports are tried for a flow: with 28,000 of 33,500 taken, all are taken once in fifty
/// thousand flows.
const TRIES: u32 = 64;
/// From this try on ports count as short.
const SHORT: u32 = TRIES / 2;
/// How many are tried for a backend whose last search was in vain.
const TRIES_IF_EXHAUSTED: u32 = 4;

/// Which port is tried first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FirstPort {
    /// The client's own.
    Own,
    /// One of the ranges.
    OfRange,
}

/// Makes the reverse entry of a new flow. `s.flow` says all but the source port and the generation,
/// which are chosen here: the first port whose reply tuple no one has. False if every try failed.
#[inline(always)]
pub fn claim(p: &Packet, s: &mut Scratch, first: FirstPort, hash: u32, now: u64) -> bool {
    // SAFETY: a helper without arguments.
    s.flow.generation = unsafe { bpf_get_prandom_u32() } | 1;
    s.flow.sport = p.sport;
    s.reverse_key = s.flow.reverse_key(p.proto);
    fill_reverse(p, s, now);
    let exhausted = !super::is_local(&s.flow) && snat_peer::is_exhausted(s, now);
    let (tries, short_from) = if exhausted {
        (TRIES_IF_EXHAUSTED, 0)
    } else {
        (TRIES, SHORT)
    };
    s.search = PortSearch {
        now,
        hash,
        short_from,
        own_port: u32::from(first == FirstPort::Own),
        opens: u32::from(p.is_syn()),
        state: TRYING,
    };
    let mut context: *mut Scratch = s;
    // A loop unrolled by the verifier would be read sixty times over. SAFETY: the callback is a
    // function of this object that takes an index and this pointer, which outlives the loop.
    unsafe {
        bpf_loop(tries, try_port as *mut c_void, (&raw mut context).cast(), 0);
    }
    s.flow.sport = s.reverse_key.dport;
    s.flow.generation = s.reverse.generation;
    if s.search.state == REGAINED {
        count(Reason::FlowRechosen);
        if let Some(found) = find(&s.reverse_key)
            && found.generation() == s.flow.generation
        {
            found.client_sent(p, now);
            found.moved_to(p.ifindex);
        }
    }
    if s.search.state == CLAIMED {
        tally::opened(&s.reverse, p.proto);
    }
    if s.search.state != TRYING {
        return true;
    }
    if !super::is_local(&s.flow) && !exhausted {
        snat_peer::exhausted(s, now);
    }
    false
}

/// Numbers of `PortSearch::state`.
const TRYING: u32 = 0;
const CLAIMED: u32 = 1;
const REGAINED: u32 = 2;

/// One try of [`claim`]: the callback of `bpf_loop` (Linux 5.17), which ends the loop by returning
/// 1.
#[inline(never)]
extern "C" fn try_port(index: u32, context: *mut *mut Scratch) -> i64 {
    // SAFETY: the pointer that `claim` handed to `bpf_loop`, which nothing else uses before the
    // loop has ended.
    let s = unsafe { &mut **context };
    s.reverse_key.dport = if index == 0 && s.search.own_port != 0 {
        s.reverse.dport
    } else {
        candidate_port(s.search.hash, index) as u16
    };
    match occupant(s, index) {
        Occupant::Other => return 0,
        Occupant::Us => {
            s.search.state = REGAINED;
            return 1;
        }
        Occupant::None => {}
    }
    if foreign::owns(&s.reverse_key, s.search.now) {
        return 0;
    }
    match FlowTable::New.insert(&s.reverse_key, &s.reverse, BPF_NOEXIST) {
        Ok(()) => {
            // Another flow may have had it in the other map all the time: a promotion inserts there
            // first.
            if find_established(&s.reverse_key).is_none() {
                s.search.state = CLAIMED;
                return 1;
            }
            FlowTable::New.remove(&s.reverse_key);
            0
        }
        Err(EEXIST) => 0,
        Err(_) => {
            count(Reason::FlowInsertFailed);
            1
        }
    }
}

/// The port of this try. Until the agent has written `lb_ports`, one of the range that is ours
/// anyway. Exported, so that the verifier reads it once, whatever leads to it.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn candidate_port(hash: u32, index: u32) -> u32 {
    // An odd step, so that flows whose first ports collide part ways.
    let step = (hash >> 16 | 1).wrapping_mul(index);
    let number = hash.wrapping_add(step);
    if let Some(ports) = PORTS.get_ptr(0) {
        // SAFETY: an element of an array map; any bits are a valid value. While the agent writes
        // it, a port of the ranges before and after may be mixed, and each is checked by `occupant`.
        let ports: &PortRanges = unsafe { &*ports };
        if ports.total != 0 {
            return ports.nth(number % ports.total).into();
        }
    }
    let (min, max) = (config::snat_port_min(), config::snat_port_max());
    let range = (max & 0xffff).wrapping_sub(min & 0xffff).wrapping_add(1) & 0x1_ffff;
    if range == 0 {
        return min;
    }
    min + number % range
}

/// Inserts the forward entry in `s.flow`, after its reverse entry was claimed.
#[inline(always)]
pub fn insert_forward(s: &Scratch) {
    if FlowTable::New.insert(&s.key, &s.flow, BPF_ANY).is_err() {
        // The reverse entry is there, so this packet's answer comes through; the next packet tries
        // again.
        count(Reason::FlowInsertFailed);
    }
}

/// Which flow has a reply tuple.
enum Occupant {
    None,
    /// This one.
    Us,
    /// Another one.
    Other,
}

/// Looks at `s.reverse_key`. An entry of the same client and VIP is our own, whose forward entry
/// was lost; one that is nobody's by now (also of ours: the answer would not find it), or gives way
/// since ports are short, is removed.
#[inline(always)]
fn occupant(s: &mut Scratch, attempt: u32) -> Occupant {
    let Some(old) = find(&s.reverse_key) else {
        return Occupant::None;
    };
    let generation = old.generation();
    if generation == 0 {
        return Occupant::Other;
    }
    // What is read is verified by the generation below.
    let f = old.peek();
    let is_ours = f.dport == s.reverse.dport
        && f.sport == s.reverse.sport
        && f.pool == s.reverse.pool
        && same(&f.dst, &s.reverse.dst)
        && same(&f.src, &s.reverse.src);
    let gone = tally::Counted::of(f);
    let standing = Standing::of(f, s.reverse_key.proto);
    let keep = if is_ours || attempt < s.search.short_from {
        standing.keep
    } else {
        standing.keep_when_short
    };
    let is_over = is_ours && s.search.opens != 0 && standing.is_over;
    if f.age(s.search.now) <= keep && !is_over {
        if is_ours {
            s.reverse.generation = generation;
            return Occupant::Us;
        }
        return Occupant::Other;
    }
    // SAFETY: an aligned u32 of a map element that lives while the program runs. Only the one that
    // turns it to 0 may remove it.
    let before = unsafe { atomic::compare_exchange(&raw mut (*old.ptr).generation, generation, 0) };
    if before != generation {
        return Occupant::Other;
    }
    if old.table.remove(&s.reverse_key) {
        tally::closed(gone, s.reverse_key.proto);
    }
    Occupant::None
}
