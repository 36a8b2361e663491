//! Open TCP connections: one more when the handshake is done, one less when the socket is closed on
//! the wire. The socket's record says whether it is counted, so a failed connect never is.

use core::ptr;

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_TCP_CLOSE, bpf_sock_ops,
    },
    helpers::generated::bpf_sock_ops_cb_flags_set,
    macros::sock_ops,
    programs::SockOpsContext,
};
use lb_common::sock::{SockRecord, kind};

use crate::socket::record;

/// Leaves the reply as it is, which is the kernel's default for every operation.
const NEUTRAL: u32 = 1;

#[sock_ops]
pub fn lb_sockops(ctx: SockOpsContext) -> u32 {
    let ops = ctx.ops;
    match ctx.op() {
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(ops),
        BPF_SOCK_OPS_STATE_CB => {
            // SAFETY: a readable u32 of the context: the new state.
            let state = unsafe { ptr::read_volatile(&raw const (*ops).__bindgen_anon_1.args[1]) };
            if state == BPF_TCP_CLOSE
                && let Some(r) = record_of(ops)
            {
                // SAFETY: found in this run.
                unsafe { record::uncount(r) };
            }
        }
        _ => {}
    }
    NEUTRAL
}

#[inline(always)]
fn established(ops: *mut bpf_sock_ops) {
    let Some(r) = record_of(ops) else {
        return;
    };
    // SAFETY: found in this run; a readable u32 of the context, and a helper of this program type.
    unsafe {
        if (*r).kind != kind::CONNECTED {
            return;
        }
        let flags = ptr::read_volatile(&raw const (*ops).bpf_sock_ops_cb_flags);
        // Without the callback at the end nothing would count it down.
        if bpf_sock_ops_cb_flags_set(ops, (flags | BPF_SOCK_OPS_STATE_CB_FLAG) as i32) == 0 {
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
