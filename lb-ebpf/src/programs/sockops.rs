//! Open TCP connections: one more when the handshake is done, one less when the socket is closed on
//! the wire. The socket's record says whether it is counted, so a failed connect never is. What a
//! translated socket meets is counted for its pool (`lb_pool_tcp`): the round trip of its handshake,
//! segments that it sends once more, a connect that comes to nothing. Handshakes with backends of
//! watched pools are counted by what became of them, too.

use core::ptr;

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RETRANS_CB, BPF_SOCK_OPS_RETRANS_CB_FLAG,
        BPF_SOCK_OPS_RTO_CB, BPF_SOCK_OPS_RTO_CB_FLAG, BPF_SOCK_OPS_STATE_CB,
        BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE, BPF_TCP_SYN_SENT,
        bpf_sock_ops,
    },
    helpers::generated::bpf_sock_ops_cb_flags_set,
    macros::sock_ops,
    programs::SockOpsContext,
};
use lb_common::{
    handshakes::{ANSWERED, FAILED},
    pool::flags as pool_flags,
    sock::{SockRecord, kind},
};

use crate::{handshake, lookup, socket::record, tcp};

/// What is asked for of every translated socket, from its connect on: both are rare.
const ASKED: u32 = BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RETRANS_CB_FLAG;

/// Leaves the reply as it is, which is the kernel's default for every operation.
const NEUTRAL: u32 = 1;

#[sock_ops]
pub fn lb_sockops(ctx: SockOpsContext) -> u32 {
    let ops = ctx.ops;
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connects(ops),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(ops),
        BPF_SOCK_OPS_RTO_CB => {
            // SAFETY: a readable u32 of the context.
            let state = unsafe { ptr::read_volatile(&raw const (*ops).state) };
            if state == BPF_TCP_SYN_SENT
                && let Some(r) = record_of(ops)
            {
                // SAFETY: found in this run.
                unsafe { failed(r) };
            }
        }
        BPF_SOCK_OPS_STATE_CB => {
            // SAFETY: two readable u32 of the context: the state before, and the new one.
            let (before, state) = unsafe {
                (
                    ptr::read_volatile(&raw const (*ops).__bindgen_anon_1.args[0]),
                    ptr::read_volatile(&raw const (*ops).__bindgen_anon_1.args[1]),
                )
            };
            if state == BPF_TCP_CLOSE {
                closed(ops, before);
            }
        }
        BPF_SOCK_OPS_RETRANS_CB => {
            // SAFETY: a readable u32 of the context: how many segments.
            let segments =
                unsafe { ptr::read_volatile(&raw const (*ops).__bindgen_anon_1.args[1]) };
            if let Some(r) = record_of(ops)
                // SAFETY: found in this run.
                && let Some(pool) = unsafe { pool_of(r) }
            {
                tcp::retransmitted(pool, segments);
            }
        }
        _ => {}
    }
    NEUTRAL
}

/// The pool of a socket that was translated by connect.
///
/// # Safety
/// As for [`failed`].
#[inline(always)]
unsafe fn pool_of(record: *const SockRecord) -> Option<u32> {
    // SAFETY: the caller's promise.
    unsafe { ((*record).kind == kind::CONNECTED).then_some((*record).pool) }
}

/// The socket is closed, from this state.
#[inline(always)]
fn closed(ops: *mut bpf_sock_ops, before: u32) {
    let Some(r) = record_of(ops) else {
        return;
    };
    // SAFETY: found in this run; a readable u32 of the context.
    unsafe {
        record::uncount(r);
        if before != BPF_TCP_SYN_SENT {
            return;
        }
        // Reset, or given up by the kernel: its owner would have closed it before.
        let by_owner = (*r).closed != 0;
        if !by_owner {
            failed(r);
        }
        let has_waited = ptr::read_volatile(&raw const (*ops).total_retrans) != 0;
        if (!by_owner || has_waited)
            && let Some(pool) = pool_of(r)
        {
            tcp::failed(pool);
        }
    }
}

/// Counts a SYN that nobody answers, or that a reset answers.
///
/// # Safety
/// `record` comes from [`record::find`] in this run.
#[inline(always)]
unsafe fn failed(record: *mut SockRecord) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*record).kind == kind::CONNECTED {
            handshake_ended(record, FAILED);
        }
    }
}

/// Counts what became of the handshake of a socket that was translated by connect.
///
/// # Safety
/// As for [`failed`].
#[inline(always)]
unsafe fn handshake_ended(record: *const SockRecord, what: u64) {
    // SAFETY: the caller's promise.
    let r = unsafe { &*record };
    handshake::count(r.pool, r.backend_id, &r.backend, r.backend_port, what);
}

/// A SYN is about to be sent: what becomes of it is asked for. What other programs have asked for
/// stays.
#[inline(always)]
fn connects(ops: *mut bpf_sock_ops) {
    let Some(r) = record_of(ops) else {
        return;
    };
    // SAFETY: found in this run; a readable u32 of the context, and a helper of this program type.
    unsafe {
        let Some(pool) = pool_of(r) else {
            return;
        };
        let mut wanted = ptr::read_volatile(&raw const (*ops).bpf_sock_ops_cb_flags) | ASKED;
        if lookup::choose::flags(pool) & pool_flags::WATCHED != 0 {
            wanted |= BPF_SOCK_OPS_RTO_CB_FLAG;
        }
        bpf_sock_ops_cb_flags_set(ops, wanted as i32);
    }
}

#[inline(always)]
fn established(ops: *mut bpf_sock_ops) {
    let Some(r) = record_of(ops) else {
        return;
    };
    // SAFETY: found in this run; readable u32 of the context, and a helper of this program type.
    unsafe {
        let Some(pool) = pool_of(r) else {
            return;
        };
        // Eight times the smoothed round trip time, of which there is one sample.
        tcp::answered(pool, ptr::read_volatile(&raw const (*ops).srtt_us) >> 3);
        let flags = ptr::read_volatile(&raw const (*ops).bpf_sock_ops_cb_flags);
        if flags & BPF_SOCK_OPS_RTO_CB_FLAG != 0 {
            handshake_ended(r, ANSWERED);
        }
        let wanted = flags & !BPF_SOCK_OPS_RTO_CB_FLAG | ASKED;
        // Without the callback at the end nothing would count it down.
        if wanted == flags || bpf_sock_ops_cb_flags_set(ops, wanted as i32) == 0 {
            record::recount(r);
        }
    }
}

#[inline(always)]
fn record_of(ops: *mut bpf_sock_ops) -> Option<*mut SockRecord> {
    // SAFETY: a readable pointer of the context, null unless the socket is a full one.
    let sk = unsafe { ptr::read_volatile(&raw const (*ops).__bindgen_anon_2.sk) };
    if sk.is_null() {
        return None;
    }
    record::find(sk.cast())
}
