//! The records of a new flow, made so that no two flows share a reply tuple. Owns the choice of the source port.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::{bpf_get_prandom_u32, bpf_loop},
};
use lb_common::{Reason, flow::connects};

use crate::{
    atomic, config,
    count::count,
    flow,
    packet::{Packet, same},
    scratch::Scratch,
};

const EEXIST: i32 = -17;
/// How many ports are tried for a flow.
const TRIES: u32 = 32;

/// Makes the records of a new flow. `s.flow` says all but the source port and the generation, which are chosen here: the
/// first port whose reply tuple nobody has, the client's own first if `own_port`. False if every try failed.
#[inline(always)]
pub fn claim(p: &Packet, s: &mut Scratch, own_port: bool, hash: u32) -> bool {
    // SAFETY: a helper without arguments.
    s.flow.generation = unsafe { bpf_get_prandom_u32() } | 1;
    s.flow.sport = p.sport;
    s.twin_key = s.flow.twin_key(p.proto);
    flow::reply_record(p, s);
    s.claim = Claim {
        hash,
        own_port: u16::from(own_port),
        state: TRYING,
    };
    let mut context: *mut Scratch = s;
    // A loop unrolled by the verifier would be read thirty times over.
    // SAFETY: the callback is a function of this object that takes an index and this pointer, which outlives the loop.
    unsafe {
        bpf_loop(TRIES, try_port as *mut c_void, (&raw mut context).cast(), 0);
    }
    s.flow.sport = s.twin_key.dport;
    s.flow.generation = s.twin.generation;
    if s.claim.state == REGAINED {
        count(Reason::FlowRechosen);
    }
    s.claim.state != TRYING
}

/// Numbers of [`Claim::state`].
const TRYING: u16 = 0;
const CLAIMED: u16 = 1;
const REGAINED: u16 = 2;

/// What a claim is about, beside `s.twin`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Claim {
    hash: u32,
    own_port: u16,
    state: u16,
}

/// One try of [`claim`]: the callback of `bpf_loop` (Linux 5.17), which ends the loop by returning 1.
#[inline(never)]
extern "C" fn try_port(index: u32, context: *mut *mut Scratch) -> i64 {
    // SAFETY: the pointer that `claim` handed to `bpf_loop`, which nobody else uses before the loop has ended.
    let s = unsafe { &mut **context };
    let (min, max) = (config::snat_port_min(), config::snat_port_max());
    let range = (max & 0xffff).wrapping_sub(min & 0xffff).wrapping_add(1) & 0x1_ffff;
    if range == 0 {
        return 1;
    }
    let own = s.twin.dport;
    s.twin_key.dport = if index == 0 && s.claim.own_port != 0 {
        own
    } else {
        // An odd step, so that flows whose first ports collide part ways.
        let step = (s.claim.hash >> 16 | 1).wrapping_mul(index);
        (min + s.claim.hash.wrapping_add(step) % range) as u16
    };
    match occupant(s, index >= TRIES / 2) {
        Occupant::Other => return 0,
        Occupant::Us => {
            s.claim.state = REGAINED;
            return 1;
        }
        Occupant::Nobody => {}
    }
    match flow::insert(true, &s.twin_key, &s.twin, BPF_NOEXIST) {
        Ok(()) => {
            // Somebody may have had it in the other map all the time: who promotes inserts there first.
            if flow::find_moved(&s.twin_key).is_none() {
                s.claim.state = CLAIMED;
                return 1;
            }
            flow::remove(true, &s.twin_key);
            0
        }
        Err(EEXIST) => 0,
        Err(_) => {
            count(Reason::FlowInsertFailed);
            1
        }
    }
}

/// Inserts the forward record in `s.flow`, after its reply record was claimed.
#[inline(always)]
pub fn record(s: &Scratch) {
    if flow::insert(true, &s.key, &s.flow, BPF_ANY).is_err() {
        // The reply record stands, so this packet's answer comes through; the next packet tries again.
        count(Reason::FlowInsertFailed);
    }
}

/// Whose a reply tuple is.
enum Occupant {
    Nobody,
    Us,
    Other,
}

/// Looks at `s.twin_key`. A record of the same client and VIP is our own, whose forward record was lost; one that has been
/// idle for long enough is taken away.
#[inline(always)]
fn occupant(s: &mut Scratch, ports_short: bool) -> Occupant {
    let Some(old) = flow::find(&s.twin_key) else {
        return Occupant::Nobody;
    };
    let generation = old.generation();
    // SAFETY: a map element that lives while the program runs; what is read is verified by the generation below.
    let f = unsafe { &*old.ptr };
    if generation == 0 {
        return Occupant::Other;
    }
    if f.dport == s.twin.dport
        && f.sport == s.twin.sport
        && same(&f.dst, &s.twin.dst)
        && same(&f.src, &s.twin.src)
    {
        s.twin.generation = generation;
        return Occupant::Us;
    }
    let connects = connects(s.twin_key.proto);
    let age = s.twin.last_seen_ns.wrapping_sub(f.last_seen_ns);
    // A time of another CPU may lie a tick ahead of ours.
    if age > i64::MAX as u64 || age < f.keep_ns(connects, ports_short) {
        return Occupant::Other;
    }
    // SAFETY: an aligned u32 of a map element that lives while the program runs. Who turns it to 0 alone may remove it.
    let before = unsafe { atomic::compare_exchange(&raw mut (*old.ptr).generation, generation, 0) };
    if before != generation {
        return Occupant::Other;
    }
    flow::remove(old.new, &s.twin_key);
    Occupant::Nobody
}
