//! Around the programs of tc and XDP. They run with bottom halves off and one after the other on a
//! CPU, so what they leave in this CPU's room is theirs until the next one begins.

use lb_common::{
    Addr,
    flow::{Flow, FlowKey, NONE, direction},
    trace::{Decision, Hook, set},
};

use super::{
    PACKETS, RUNS,
    emit::{emit, filter},
    is_on, is_on_still, moved, note, session,
};
use crate::scratch;

/// One more program that runs, in `Run::began`.
const ONE: u64 = 1 << 32;

/// Runs the program of a hook; what it decides is shown to whoever traces.
#[inline(always)]
pub fn around(hook: Hook, program: impl FnOnce() -> i32) -> i32 {
    if is_on() {
        begin();
    }
    let verdict = program();
    if is_on() {
        end(hook as u32, verdict);
    }
    verdict
}

#[inline(never)]
fn begin() -> u32 {
    let (Some(run), Some((_, s))) = (RUNS.get_ptr_mut(PACKETS), scratch::held()) else {
        return 0;
    };
    if !is_on_still() {
        return 0;
    }
    // SAFETY: an element of a per-CPU array, which lives while the program runs; this CPU's alone.
    unsafe {
        let session = session();
        if (*run).began as u32 != session {
            (*run).began = u64::from(session);
        }
        (*run).began += ONE;
        if (*run).began >> 32 == 1 {
            (*run).is_saved = 0;
            // Whatever the packet before left behind.
            s.key.proto = 0;
            s.flow.direction = 0;
            note(run);
        } else if (*run).is_saved == 0 {
            (*run).is_saved = 1;
            (*run).key = s.key;
            (*run).flow = s.flow;
        }
    }
    1
}

#[inline(never)]
fn end(hook: u32, verdict: i32) -> u32 {
    let (Some(run), Some((_, s))) = (RUNS.get_ptr_mut(PACKETS), scratch::held()) else {
        return 0;
    };
    // SAFETY: as in `begin`.
    unsafe {
        // A run that began before.
        if (*run).began as u32 != session() || (*run).began < ONE {
            return 0;
        }
        (*run).began -= ONE;
        if (*run).began >= ONE {
            return 0;
        }
        let reasons = moved(run);
        let Some(filter) = filter(hook, reasons) else {
            return 0;
        };
        let d = &mut (*run).decision;
        let (key, flow) = if (*run).is_saved == 0 {
            (&s.key, &s.flow)
        } else {
            (&(*run).key, &(*run).flow)
        };
        fill(d, key, flow, reasons);
        (d.hook, d.verdict) = (hook as u8, verdict);
        emit(filter, d);
    }
    1
}

/// What was decided about this packet.
#[inline(always)]
fn fill(d: &mut Decision, key: &FlowKey, flow: &Flow, reasons: u64) {
    d.reasons = reasons;
    (d.netns, d.cgroup, d.pid, d.comm) = (0, 0, 0, [0; 16]);
    (d.client, d.vip, d.backend) = (Addr::ZERO, Addr::ZERO, Addr::ZERO);
    (d.client_port, d.vip_port, d.backend_port) = (0, 0, 0);
    (d.pool, d.backend_id) = (NONE, NONE);
    (d.reply, d.pad) = (0, [0; 3]);
    d.proto = key.proto;
    if key.proto == 0 {
        return;
    }
    let is_set = flow.direction != 0 && reasons & set::WITHOUT_BACKEND == 0;
    if is_set {
        (d.pool, d.backend_id) = (flow.pool, flow.backend);
    }
    if is_set && flow.direction == direction::REPLY {
        d.reply = 1;
        (d.client, d.client_port) = (flow.dst, flow.dport);
        (d.vip, d.vip_port) = (flow.src, flow.sport);
        (d.backend, d.backend_port) = (key.src, key.sport);
        return;
    }
    (d.client, d.client_port) = (key.src, key.sport);
    (d.vip, d.vip_port) = (key.dst, key.dport);
    if is_set {
        (d.backend, d.backend_port) = (flow.dst, flow.dport);
    }
}
