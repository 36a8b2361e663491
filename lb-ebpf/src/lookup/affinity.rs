//! The backend that a client had before.

use aya_ebpf::{bindings::BPF_ANY, helpers::bpf_ktime_get_ns};
use lb_common::{
    Addr, Reason,
    affinity::{Affinity, AffinityKey},
    member,
};

use super::{
    backend::{backend, is_member},
    choose::{Chosen, Client, affinity_secs},
    room,
};
use crate::{
    atomic, config,
    count::count,
    lru,
    maps::{AFFINITY, AFFINITY_SHARES},
};

/// The backend that this client had, if its record is fresh and the backend still eligible here and
/// not full.
#[inline(always)]
pub fn remembered(pool: u32, client: &Client, secs: u32) -> Option<Chosen> {
    let key = AffinityKey {
        client: client.affinity,
        pool,
    };
    let record = AFFINITY.get_ptr_mut(&key)?;
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: an element of an LRU map, valid while the program runs; what was read is checked
    // against `lb_members` below.
    let (last, id) = unsafe { ((*record).last_used_ns, (*record).backend) };
    // Another CPU may have written it a moment later.
    if now > last && now - last > u64::from(secs) * 1_000_000_000 {
        return None;
    }
    if !is_member(pool, id, member::ELIGIBLE) {
        count(Reason::AffinityMoved);
        return None;
    }
    if client.opens && room::is_full(id, pool) {
        count(Reason::BackendSpilled);
        return None;
    }
    let backend = backend(id)?;
    // SAFETY: as above; a lost race writes a time that is as good.
    unsafe { (*record).last_used_ns = now };
    Some(Chosen { id, backend })
}

/// Records the choice of a socket for the next connection of its client.
#[inline(always)]
pub fn remember(pool: u32, client: &Client, id: u32) {
    let key = AffinityKey {
        client: client.affinity,
        pool,
    };
    write(&key, id);
}

/// Records the backend of a flow that is confirmed, for the next flow of its client: what a forged
/// packet opens is never confirmed. Not beyond the pool's share of the records, which the records
/// of other pools' clients do not lose a place to.
///
/// A function of the kernel's own: key and value cost the caller no stack.
#[inline(never)]
pub fn remember_confirmed(pool: u32, client: &Addr, id: u32) -> u32 {
    if affinity_secs(pool) == 0 {
        return 0;
    }
    let key = AffinityKey {
        client: *client,
        pool,
    };
    if AFFINITY.get_ptr_mut(&key).is_none() {
        let Some(share) = AFFINITY_SHARES.get_ptr_mut(pool) else {
            return 0;
        };
        // SAFETY: an element of an array map; two loads of an aligned u32 each, then one atomic
        // addition to the first, which does not overflow: it is below the second.
        unsafe {
            let most = match core::ptr::read_volatile(&raw const (*share).share) {
                0 => config::affinity_share(),
                most => most,
            };
            if core::ptr::read_volatile(&raw const (*share).records) >= most {
                count(Reason::AffinityShareFull);
                return 0;
            }
            atomic::add(share.cast::<u64>(), 1);
        }
    }
    write(&key, id);
    1
}

#[inline(always)]
fn write(key: &AffinityKey, id: u32) {
    let value = Affinity {
        // SAFETY: a helper without arguments.
        last_used_ns: unsafe { bpf_ktime_get_ns() },
        backend: id,
        pad: 0,
    };
    // A full LRU evicts; a failure means only that the next connection chooses anew.
    let _ = lru::insert(&AFFINITY, key, &value, BPF_ANY);
}
