//! The choice of a backend: by affinity first, then by the pool's scheduler.
//!
//! This is the reading side of the atomic switch: a slot that names another pool means a stale
//! word 0, which is read once more.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use lb_common::{
    Addr, Reason,
    backend::Backend,
    flow::AgeLimit,
    frontend::FrontendValue,
    pool::{Pool, PoolWord, flags},
    scheduler::{Need, Scheduler},
    select,
    slot::Slot,
};

use super::{
    affinity::{remember, remembered},
    backend::backend,
    least::search_least,
    room::{self, Others},
    spill,
    test_delay::test_delay,
};
use crate::{
    atomic,
    count::count,
    hash,
    maps::{POOLS, SCHED, SLOTS},
};

/// What a choice depends on.
#[derive(Clone, Copy)]
pub struct Client {
    /// Key of affinity records: an address, or [`lb_common::affinity::AffinityKey::netns`] of a
    /// socket.
    pub affinity: Addr,
    /// Deterministic number of the flow (a hash of the tuple), or `None` for a fresh random one.
    pub flow_hash: Option<u32>,
    /// Of the packet path, where the Service has affinity: [`Client::client_hash`] places a client
    /// without a record, which is written once the flow is confirmed: until then, and if the record
    /// is lost, it stays where it is while the backends stay. (No `Option`: what is not there would be
    /// copied, and no verifier lets a program read what it has not written.)
    pub is_placed: bool,
    /// A hash of the client's address; 0 if it places nobody.
    pub client_hash: u32,
    /// A new connection, which a full backend does not get. A segment without SYN belongs to one that
    /// is open: its records are lost, or another node or proxy had it.
    pub opens: bool,
}

/// A backend that was chosen.
#[derive(Clone, Copy)]
pub struct Chosen {
    /// Index into `lb_backends`.
    pub id: u32,
    /// Its entry, copied.
    pub backend: Backend,
}

/// Why no backend was chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No endpoint.
    NoEndpoint,
    /// A local-only policy, no local endpoint, others elsewhere.
    NoLocal,
    /// Each backend has as many connections as it may.
    Full,
    /// The maps contradict each other, in this way.
    Broken(Reason),
}

/// Has the pool a backend to choose? False for an index that points nowhere.
#[inline(always)]
pub fn has_backends(index: u32) -> bool {
    match POOLS.get_ptr(index) {
        Some(pool) => word(pool).count != 0,
        None => false,
    }
}

/// The flags of a pool (see [`flags`]); 0 for an index that points nowhere.
#[inline(always)]
pub fn flags(index: u32) -> u16 {
    match POOLS.get_ptr(index) {
        // SAFETY: an element of an array map; one aligned u16, read once.
        Some(pool) => unsafe { (*pool).flags },
        None => 0,
    }
}

/// How old the pool's TCP connections may become; any age for an index that points nowhere.
#[inline(always)]
pub fn age_limit(index: u32) -> AgeLimit {
    match POOLS.get_ptr(index) {
        // SAFETY: an element of an array map; its last eight bytes are one aligned word, which the
        // agent writes at once.
        Some(pool) => AgeLimit::from_u64(unsafe {
            core::ptr::read_volatile((&raw const (*pool).max_age_secs).cast::<u64>())
        }),
        None => AgeLimit::NONE,
    }
}

/// Seconds of session affinity; 0 if it is off, and for an index that points nowhere.
#[inline(always)]
pub fn affinity_secs(index: u32) -> u32 {
    match POOLS.get_ptr(index) {
        // SAFETY: an element of an array map; one aligned u32, read once.
        Some(pool) => unsafe { (*pool).affinity_secs },
        None => 0,
    }
}

/// Word 0 of a pool, loaded once.
#[inline(always)]
fn word(pool: *const Pool) -> PoolWord {
    // SAFETY: an element of an array map, 8-aligned, at least 8 bytes; valid while the program
    // runs. Volatile, so that it is one load and is made anew each time.
    PoolWord::from_u64(unsafe { core::ptr::read_volatile(pool.cast::<u64>()) })
}

/// A slot, loaded once.
#[inline(always)]
pub(super) fn slot(index: u32) -> Option<Slot> {
    let p = SLOTS.get_ptr(index)?;
    // SAFETY: an element of an array map, 8-aligned, 8 bytes; valid while the program runs.
    Some(Slot::from_u64(unsafe {
        core::ptr::read_volatile(p.cast::<u64>())
    }))
}

/// [`backend`], after [`test_delay`].
#[inline(always)]
fn delayed_backend(id: u32) -> Option<Backend> {
    test_delay();
    backend(id)
}

/// Chooses a backend of the frontend's pool for this client.
#[inline(always)]
pub fn choose(frontend: &FrontendValue, client: &Client) -> Result<Chosen, Refusal> {
    let Some(pool) = POOLS.get_ptr(frontend.pool) else {
        return Err(Refusal::Broken(Reason::BadIndex));
    };
    // SAFETY: an element of an array map; each field is read once.
    let (affinity_secs, scheduler) = unsafe { ((*pool).affinity_secs, (*pool).scheduler) };
    if affinity_secs != 0
        && let Some(known) = remembered(frontend.pool, client, affinity_secs)
    {
        return Ok(known);
    }
    let placed = if affinity_secs != 0 && client.is_placed {
        spill::by_hash(client.client_hash)
    } else {
        0
    };
    // SAFETY: an element of an array map; one aligned u16, read once.
    let bits = unsafe { (*pool).flags };
    let others = if bits & flags::SPILLS != 0 && client.opens {
        spill::spill_others(word(pool).to_u64(), frontend.pool, bits.into(), placed)
    } else {
        0
    };
    // A turn is for who stays.
    let scheduler = if placed != 0 || Others::from_u64(others).now {
        Scheduler::Random.number()
    } else {
        scheduler
    };
    let number = if placed == 0 {
        number(frontend.pool, scheduler, client)
    } else {
        placed as u32
    };
    let chosen = pick(pool, frontend, scheduler, number, client.opens, others)?;
    if affinity_secs != 0 && !client.is_placed {
        remember(frontend.pool, client, chosen.id);
    }
    Ok(chosen)
}

/// Reads word 0 and one slot of its range; once more if the slot turned out to be another
/// pool's.
#[inline(always)]
fn pick(
    pool: *const Pool,
    frontend: &FrontendValue,
    scheduler: u8,
    number: u32,
    opens: bool,
    others: u64,
) -> Result<Chosen, Refusal> {
    let mut retried = false;
    loop {
        let w = word(pool);
        if w.count == 0 {
            // SAFETY: an element of an array map; one aligned u16, read once.
            let found = unsafe { (*pool).flags };
            return Err(if found & flags::NO_LOCAL != 0 {
                Refusal::NoLocal
            } else {
                Refusal::NoEndpoint
            });
        }
        let mut offset = place(w, frontend.pool, scheduler, number, retried);
        if opens {
            // The second time any backend will do: the verifier would read it all twice.
            let others = if retried { 0 } else { others };
            offset = room::from(w, frontend.pool, offset, others);
            if spill::has_left(others, offset) && offset != room::NONE {
                count(Reason::TopologySpilled);
            }
            if offset == room::NONE {
                return Err(Refusal::Full);
            }
        }
        let index = w.base + offset;
        test_delay();
        if let Some(s) = slot(index)
            && s.pool == frontend.pool
            && let Some(b) = delayed_backend(s.backend)
        {
            if retried {
                count(Reason::SlotRetried);
            }
            return Ok(Chosen {
                id: s.backend,
                backend: b,
            });
        }
        if retried {
            return Err(Refusal::Broken(Reason::StaleSlot));
        }
        retried = true;
    }
}

/// The number that the scheduler goes by.
#[inline(always)]
fn number(pool: u32, scheduler: u8, client: &Client) -> u32 {
    match select::needs(scheduler) {
        Need::Random | Need::Load => match client.flow_hash {
            Some(h) => h,
            // SAFETY: a helper without arguments.
            None => unsafe { bpf_get_prandom_u32() },
        },
        Need::Cursor => match SCHED.get_ptr_mut(pool) {
            // SAFETY: an aligned u64 of an array map, shared by all CPUs, only ever added to.
            Some(cursor) => unsafe { atomic::fetch_add(cursor, 1) as u32 },
            None => 0,
        },
        Need::SourceHash => hash::of_client(&client.affinity),
    }
}

/// The offset of the slot that the scheduler chooses.
#[inline(always)]
fn place(word: PoolWord, pool: u32, scheduler: u8, number: u32, retried: bool) -> u32 {
    // The second time any backend will do: the verifier would read the search twice.
    if matches!(select::needs(scheduler), Need::Load) && !retried {
        search_least(word.base, word.count.into(), pool, scheduler.into(), number)
    } else {
        select::offset(scheduler, word.count, number).into()
    }
}
