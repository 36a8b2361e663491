//! The backend that a client had before.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use lb_common::{
    Reason,
    affinity::{Affinity, AffinityKey},
    member,
};

use super::{
    backend::{backend, is_member},
    choose::{Chosen, Client},
};
use crate::{count::count, maps::AFFINITY};

/// The backend that this client had, if its record is fresh and the backend still eligible here.
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
    let backend = backend(id)?;
    // SAFETY: as above; a lost race writes a time that is as good.
    unsafe { (*record).last_used_ns = now };
    Some(Chosen { id, backend })
}

/// Records the choice for the next connection of this client.
#[inline(always)]
pub fn remember(pool: u32, client: &Client, id: u32) {
    let key = AffinityKey {
        client: client.affinity,
        pool,
    };
    let value = Affinity {
        // SAFETY: a helper without arguments.
        last_used_ns: unsafe { bpf_ktime_get_ns() },
        backend: id,
        pad: 0,
    };
    // A full LRU evicts; a failure means only that the next connection chooses anew.
    let _ = AFFINITY.insert(&key, &value, 0);
}
