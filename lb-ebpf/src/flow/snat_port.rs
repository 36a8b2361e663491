//! The entries of a new flow, made so that no two flows share a reply tuple: the choice of the
//! source port.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::{bpf_get_prandom_u32, bpf_loop},
};
use lb_common::{Reason, flow::FreePorts};

use super::{FlowTable, find, find_established, reverse::fill_reverse};
use crate::{
    atomic, config,
    count::count,
    packet::{Packet, same},
    scratch::{PortSearch, Scratch},
};

const EEXIST: i32 = -17;
/// How many ports are tried for a flow.
const TRIES: u32 = 32;

/// Which port is tried first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FirstPort {
    /// The client's own.
    Own,
    /// One of our range.
    OfRange,
}

/// Makes the reverse entry of a new flow. `s.flow` says all but the source port and the generation,
/// which are chosen here: the first port whose reply tuple no other flow has. False if every try
/// failed.
#[inline(always)]
pub fn claim(p: &Packet, s: &mut Scratch, first: FirstPort, hash: u32) -> bool {
    // SAFETY: a helper without arguments.
    s.flow.generation = unsafe { bpf_get_prandom_u32() } | 1;
    s.flow.sport = p.sport;
    s.reverse_key = s.flow.reverse_key(p.proto);
    fill_reverse(p, s);
    s.search = PortSearch {
        hash,
        own_port: u16::from(first == FirstPort::Own),
        state: TRYING,
    };
    let mut context: *mut Scratch = s;
    // A loop unrolled by the verifier would be read thirty times over. SAFETY: the callback is a
    // function of this object that takes an index and this pointer, which outlives the loop.
    unsafe {
        bpf_loop(TRIES, try_port as *mut c_void, (&raw mut context).cast(), 0);
    }
    s.flow.sport = s.reverse_key.dport;
    s.flow.generation = s.reverse.generation;
    if s.search.state == REGAINED {
        count(Reason::FlowRechosen);
    }
    s.search.state != TRYING
}

/// Numbers of `PortSearch::state`.
const TRYING: u16 = 0;
const CLAIMED: u16 = 1;
const REGAINED: u16 = 2;

/// One try of [`claim`]: the callback of `bpf_loop` (Linux 5.17), which ends the loop by returning
/// 1.
#[inline(never)]
extern "C" fn try_port(index: u32, context: *mut *mut Scratch) -> i64 {
    // SAFETY: the pointer that `claim` handed to `bpf_loop`, which nothing else uses before the
    // loop has ended.
    let s = unsafe { &mut **context };
    let (min, max) = (config::snat_port_min(), config::snat_port_max());
    let range = (max & 0xffff).wrapping_sub(min & 0xffff).wrapping_add(1) & 0x1_ffff;
    if range == 0 {
        return 1;
    }
    let own = s.reverse.dport;
    s.reverse_key.dport = if index == 0 && s.search.own_port != 0 {
        own
    } else {
        // An odd step, so that flows whose first ports collide part ways.
        let step = (s.search.hash >> 16 | 1).wrapping_mul(index);
        (min + s.search.hash.wrapping_add(step) % range) as u16
    };
    match occupant(s, index) {
        Occupant::Other => return 0,
        Occupant::Us => {
            s.search.state = REGAINED;
            return 1;
        }
        Occupant::None => {}
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
/// was lost; one that has been idle for long enough is removed.
#[inline(always)]
fn occupant(s: &mut Scratch, attempt: u32) -> Occupant {
    let Some(old) = find(&s.reverse_key) else {
        return Occupant::None;
    };
    let generation = old.generation();
    // SAFETY: a map element that lives while the program runs; what is read is verified by the
    // generation below.
    let f = unsafe { &*old.ptr };
    if generation == 0 {
        return Occupant::Other;
    }
    if f.dport == s.reverse.dport
        && f.sport == s.reverse.sport
        && same(&f.dst, &s.reverse.dst)
        && same(&f.src, &s.reverse.src)
    {
        s.reverse.generation = generation;
        return Occupant::Us;
    }
    let ports = if attempt < TRIES / 2 {
        FreePorts::Enough
    } else {
        FreePorts::Scarce
    };
    let age = s.reverse.last_seen_ns.wrapping_sub(f.last_seen_ns);
    // A time of another CPU may lie a tick ahead of ours.
    if age > i64::MAX as u64 || age < f.keep_ns(s.reverse_key.proto, ports) {
        return Occupant::Other;
    }
    // SAFETY: an aligned u32 of a map element that lives while the program runs. Only the one that
    // turns it to 0 may remove it.
    let before = unsafe { atomic::compare_exchange(&raw mut (*old.ptr).generation, generation, 0) };
    if before != generation {
        return Occupant::Other;
    }
    old.table.remove(&s.reverse_key);
    Occupant::None
}
