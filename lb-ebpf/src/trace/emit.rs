//! The filter and the rate limit, and the record that passes both.

use aya_ebpf::{
    btf_maps::lpm_trie::Key,
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
};
use lb_common::{
    Addr,
    frontend::VipKey,
    trace::{Decision, Filter, only, set, whole},
};

use crate::{
    atomic,
    maps::{
        TRACE_BACKENDS, TRACE_CLIENTS, TRACE_FILTER, TRACE_NETNS, TRACE_RATE, TRACE_RING,
        TRACE_VIPS,
    },
};

/// Nanoseconds of the rate limit's second.
const SECOND: u64 = 1_000_000_000;

/// What is asked for, if it is about this hook and one of these reasons.
#[inline(always)]
pub fn filter(hook: u32, reasons: u64) -> Option<&'static Filter> {
    let filter = TRACE_FILTER.get(0)?;
    (filter.hooks >> hook & 1 == 1 && filter.reasons & reasons != 0).then_some(filter)
}

/// Hands a decision to the process that traces if it is asked for. Time and CPU are filled in here.
#[inline(always)]
pub fn emit(filter: &Filter, d: &mut Decision) {
    if !is_asked_for(filter, d) {
        return;
    }
    // SAFETY: helpers without arguments.
    unsafe {
        d.time_ns = bpf_ktime_get_ns();
        d.cpu = bpf_get_smp_processor_id() as u32;
    }
    let Some(rate) = TRACE_RATE.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: an element of an array map. CPUs may begin a second at once and one of them for
    // nothing: the limit is for people who read.
    unsafe {
        if d.time_ns.wrapping_sub((*rate).second_ns) >= SECOND {
            (*rate).second_ns = d.time_ns;
            (*rate).count = 0;
        }
        if filter.limit != 0 && (*rate).count >= u64::from(filter.limit) {
            atomic::add(&raw mut (*rate).limited, 1);
            return;
        }
        atomic::add(&raw mut (*rate).count, 1);
        // From where it lies: a copy would not fit on the stack of every program.
        if TRACE_RING.output(&*d, 0).is_err() {
            atomic::add(&raw mut (*rate).full, 1);
        }
    }
}

#[inline(always)]
fn is_asked_for(filter: &Filter, d: &Decision) -> bool {
    if filter.flags & only::VIPS != 0 && !is_vip_asked_for(d) {
        return false;
    }
    if filter.flags & only::CLIENTS != 0
        && TRACE_CLIENTS.get(&Key::new(128, d.client)).is_none()
        // SAFETY: presence alone is read.
        && unsafe { TRACE_NETNS.get(&d.netns) }.is_none()
    {
        return false;
    }
    filter.flags & only::BACKENDS == 0
        || ((filter.backend_port == 0 || filter.backend_port == u32::from(d.backend_port))
            && TRACE_BACKENDS.get(&Key::new(128, d.backend)).is_some())
}

#[inline(always)]
fn is_vip_asked_for(d: &Decision) -> bool {
    let mut key = VipKey {
        addr: d.vip,
        port: d.vip_port,
        proto: d.proto,
        scope: 0,
    };
    // SAFETY: presence alone is read, here and below.
    if unsafe { TRACE_VIPS.get(&key) }.is_some() {
        return true;
    }
    key.addr = if d.vip.is_v4() {
        Addr::v4([0; 4])
    } else {
        Addr::ZERO
    };
    if unsafe { TRACE_VIPS.get(&key) }.is_some() {
        return true;
    }
    (key.addr, key.port, key.proto) = (d.vip, 0, 0);
    match unsafe { TRACE_VIPS.get(&key) } {
        Some(what) => *what == whole::ALL || d.reasons & set::UNKNOWN_PORTS != 0,
        None => false,
    }
}
