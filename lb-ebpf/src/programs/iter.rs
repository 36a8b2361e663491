//! The recount: a walk over all sockets with a record, in every network namespace
//! (`iter/bpf_sk_storage_map`). The process that reads it is the agent, and is remembered as such.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::seq_file,
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, generated::bpf_seq_write},
};
use lb_common::sock::{Agent, SockRecord, kind};

use crate::maps::AGENT;

/// `struct bpf_iter_meta` of linux/bpf.h, its first field.
#[repr(C)]
pub struct Meta {
    seq: *mut seq_file,
}

/// `struct bpf_iter__bpf_sk_storage_map` of linux/bpf.h.
#[repr(C)]
pub struct Walk {
    meta: *mut Meta,
    map: *mut c_void,
    sk: *mut c_void,
    value: *mut SockRecord,
}

/// Writes each record to the reader. Attached to `lb_sk` by link; Linux 5.9.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
pub extern "C" fn lb_iter_sk(ctx: *mut Walk) -> i32 {
    // SAFETY: the context of this program type.
    let (seq, record) = unsafe { ((*(*ctx).meta).seq, (*ctx).value) };
    if record.is_null() {
        // Called once more at the end of every walk, in the reader's own process.
        claim();
        return 0;
    }
    // SAFETY: a record of `lb_sk`, alive during this call.
    unsafe {
        if (*record).kind != kind::NONE {
            // A full buffer makes the kernel call again with the same socket.
            bpf_seq_write(seq, record.cast(), size_of::<SockRecord>() as u32);
        }
    }
    0
}

/// See [`Agent`].
#[inline(always)]
fn claim() {
    let Some(agent) = AGENT.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the one element of an array map; helpers without arguments.
    unsafe {
        if (*agent).tgid == Agent::CLAIM {
            (*agent).cgroup = bpf_get_current_cgroup_id();
            (*agent).tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
        }
    }
}
