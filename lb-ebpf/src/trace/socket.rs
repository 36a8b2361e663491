//! Around the programs of sockets: what a system call named, and what it got. Another thread may run
//! one on the same CPU in between; then this call is not shown.

use aya_ebpf::{
    bindings::bpf_sock_addr,
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid},
};
use lb_common::{
    Addr, Reason,
    flow::NONE,
    trace::{self, Hook, set},
};

use super::{
    RUNS, SOCKETS,
    emit::{emit, filter},
    is_on, is_on_still, moved, note,
};
use crate::socket::context::{Ctx, Family};

/// What a call was given that goes on.
const TRANSLATED: u64 = set::of(&[Reason::SockTranslated]);
/// What a call counts; packets may interrupt it.
const OF_SOCKETS: u64 = set::of(trace::OF_SOCKETS);

/// Runs the program of a hook; what it decides is shown to whoever traces.
#[inline(always)]
pub fn around<F: Family>(
    hook: Hook,
    raw: *mut bpf_sock_addr,
    program: impl FnOnce(&Ctx<F>) -> i32,
) -> i32 {
    if is_on() {
        begin::<F>(raw);
    }
    let verdict = program(&Ctx::new(raw));
    if is_on() {
        end::<F>(raw, hook as u32, verdict);
    }
    verdict
}

#[inline(never)]
fn begin<F: Family>(raw: *mut bpf_sock_addr) -> u32 {
    let Some(run) = RUNS.get_ptr_mut(SOCKETS) else {
        return 0;
    };
    if !is_on_still() {
        return 0;
    }
    let ctx = Ctx::<F>::new(raw);
    // SAFETY: an element of a per-CPU array, which lives while the program runs.
    unsafe {
        (*run).owner = bpf_get_current_pid_tgid();
        (*run).vip = ctx.addr();
        (*run).vip_port = ctx.port();
        note(run);
    }
    1
}

#[inline(never)]
fn end<F: Family>(raw: *mut bpf_sock_addr, hook: u32, verdict: i32) -> u32 {
    let Some(run) = RUNS.get_ptr_mut(SOCKETS) else {
        return 0;
    };
    let thread = bpf_get_current_pid_tgid();
    let ctx = Ctx::<F>::new(raw);
    // SAFETY: as in `begin`; helpers without arguments.
    unsafe {
        if (*run).owner != thread {
            return 0;
        }
        (*run).owner = 0;
        // What another thread has counted meanwhile: a call goes on or is refused, never both.
        let ours = if verdict == 0 {
            !TRANSLATED
        } else {
            !set::REFUSALS
        };
        let reasons = moved(run) & OF_SOCKETS & ours;
        let Some(filter) = filter(hook, reasons) else {
            return 0;
        };
        let (vip, vip_port) = ((*run).vip, (*run).vip_port);
        let d = &mut (*run).decision;
        d.reasons = reasons;
        (d.client, d.client_port) = (Addr::ZERO, 0);
        (d.vip, d.vip_port) = (vip, vip_port);
        (d.backend, d.backend_port) = if reasons & TRANSLATED == 0 {
            (Addr::ZERO, 0)
        } else {
            (ctx.addr(), ctx.port())
        };
        (d.pool, d.backend_id) = (NONE, NONE);
        (d.reply, d.pad) = (0, [0; 3]);
        d.proto = ctx.protocol() as u8;
        d.netns = ctx.netns();
        d.cgroup = bpf_get_current_cgroup_id();
        d.pid = (thread >> 32) as u32;
        d.comm = bpf_get_current_comm().unwrap_or_default();
        (d.hook, d.verdict) = (hook as u8, verdict);
        emit(filter, d);
    }
    1
}
