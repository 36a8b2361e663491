//! Connections that are none of ours (`lb_foreign`), by the tuple of what answers them: direct ones
//! to backends, the node's own and masqueraded ones. They are learnt as their packets pass, so that
//! no flow takes their tuple.

use aya_ebpf::bindings::BPF_ANY;
use lb_common::flow::{FlowKey, is_foreign_past, units};

use crate::{config, lru, maps::FOREIGN};

/// Has a connection that is none of ours this reply tuple?
#[inline(always)]
pub fn owns(key: &FlowKey, now: u64) -> bool {
    let Some(seen) = FOREIGN.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: a map element that lives while the program runs; one aligned load. If the element is
    // given to another key meanwhile, one packet may find an owner too many.
    is_alive(unsafe { core::ptr::read_volatile(seen) }, key.proto, now)
}

/// The same; and if so, a packet of it has passed.
#[inline(always)]
pub fn owns_still(key: &FlowKey, now: u64) -> bool {
    let Some(seen) = FOREIGN.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: as above; one aligned store, made only when the time differs.
    unsafe {
        let last = core::ptr::read_volatile(seen);
        if !is_alive(last, key.proto, now) {
            return false;
        }
        if last != units(now) {
            core::ptr::write_volatile(seen, units(now));
        }
    }
    true
}

/// Learns a connection by its reply tuple.
#[inline(always)]
pub fn learn(key: &FlowKey, now: u64) {
    // A full LRU evicts; a failure means that a flow may take this tuple.
    let _ = lru::insert(&FOREIGN, key, &units(now), BPF_ANY);
}

#[inline(always)]
fn is_alive(seen: u32, proto: u8, now: u64) -> bool {
    !is_foreign_past(seen, proto, &config::timeouts(), now)
}
