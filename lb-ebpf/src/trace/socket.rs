//! Around the programs of sockets: what a system call named, and what it got. A thread that runs one
//! on this CPU has the CPU's room to itself until it has ended; the call of another one in between is
//! not shown.

use aya_ebpf::{
    bindings::bpf_sock_addr,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, generated::bpf_get_current_comm,
    },
};
use lb_common::{
    Addr, Reason,
    flow::NONE,
    trace::{self, Hook, set},
};

use super::{
    RUNS, Run, SOCKETS,
    emit::{emit, filter},
    is_on, is_on_still, moved, note, session,
};
use crate::{
    atomic,
    socket::context::{Ctx, Family},
};

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
    let (ctx, mine) = (Ctx::<F>::new(raw), mine(session()));
    // SAFETY: an element of a per-CPU array, which lives while the program runs; its first word is
    // aligned.
    unsafe {
        let before = core::ptr::read_volatile(&raw const (*run).began);
        if before as u32 == mine as u32 {
            return 0;
        }
        if atomic::compare_exchange_word(&raw mut (*run).began, before, mine) != before {
            return 0;
        }
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
    // SAFETY: as in `begin`.
    unsafe {
        // Another thread's, or a call that began before.
        if core::ptr::read_volatile(&raw const (*run).began) != mine(session()) {
            return 0;
        }
        let shown = show::<F>(run, raw, hook, verdict);
        core::ptr::write_volatile(&raw mut (*run).began, 0);
        shown
    }
}

/// What stands in `Run::began` while the calling thread runs.
#[inline(always)]
fn mine(session: u32) -> u64 {
    // The lower half is the thread's number, the upper one the process's.
    bpf_get_current_pid_tgid() << 32 | u64::from(session)
}

/// # Safety
/// `run` is the element of sockets, and this thread's.
#[inline(always)]
unsafe fn show<F: Family>(run: *mut Run, raw: *mut bpf_sock_addr, hook: u32, verdict: i32) -> u32 {
    let ctx = Ctx::<F>::new(raw);
    // SAFETY: the caller's promise; helpers without arguments.
    unsafe {
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
        let d = &mut (*run).decision;
        d.reasons = reasons;
        (d.client, d.client_port) = (Addr::ZERO, 0);
        // One after the other, each straight into its place: this stack is short.
        d.vip = (*run).vip;
        d.vip_port = (*run).vip_port;
        d.backend = Addr::ZERO;
        d.backend_port = 0;
        if reasons & TRANSLATED != 0 {
            d.backend = ctx.addr();
            d.backend_port = ctx.port();
        }
        (d.pool, d.backend_id) = (NONE, NONE);
        (d.reply, d.pad) = (0, [0; 3]);
        d.proto = ctx.protocol() as u8;
        d.netns = ctx.netns();
        d.cgroup = bpf_get_current_cgroup_id();
        d.pid = (bpf_get_current_pid_tgid() >> 32) as u32;
        // An error fills it with zeros.
        bpf_get_current_comm(d.comm.as_mut_ptr().cast(), d.comm.len() as u32);
        (d.hook, d.verdict) = (hook as u8, verdict);
        emit(filter, d);
    }
    1
}
