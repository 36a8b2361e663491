//! From a destination to a backend: frontend → service → slot → backend, one body for every hook and both families.
//! Owns the reading side of the ABI's atomic switch: a slot of another service means a stale word 0, read again once.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_loop};
use lb_common::{
    Addr, Reason,
    affinity::{Affinity, AffinityKey},
    backend::{self, Backend},
    known, lb0,
    select::{self, Input, Need},
    service::{
        MemberKey, NodePortKey, Service, ServiceKey, ServiceRef, Slot, Word, flags, frontend,
        member, scope,
    },
};

use crate::{
    atomic, config,
    count::count,
    maps::{AFFINITY, BACKENDS, KNOWN, MEMBERS, NODEADDRS, NODEPORTS, SCHED, SERVICES, SLOTS, SVC},
};

/// What a destination is to us.
#[derive(Clone, Copy)]
#[must_use]
pub enum Frontend {
    /// Not ours: let it pass untouched.
    None,
    /// A port of a service.
    Service(ServiceRef),
    /// A known VIP, on a port that it does not define.
    UnknownPort,
}

/// Who asks, as far as a choice depends on it.
#[derive(Clone, Copy)]
pub struct Client {
    /// Key of affinity records: an address, or [`AffinityKey::netns`] of a socket.
    pub affinity: Addr,
    /// Deterministic number of the flow (a hash of the tuple), or `None` for a fresh random one.
    pub flow_hash: Option<u32>,
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
    /// The maps contradict each other; counted already.
    Broken,
}

/// The service at `addr:port` (host order) as seen from `scope`; node ports too if `addr` is one they answer on.
#[inline(always)]
pub fn frontend(addr: &Addr, port: u16, proto: u8, scope: u8) -> Frontend {
    if !may_be_ours(addr) {
        return Frontend::None;
    }
    let key = ServiceKey {
        addr: *addr,
        port,
        proto,
        scope,
    };
    // SAFETY: an element that was freed is reused only after an RCU barrier; copied at once.
    if let Some(found) = unsafe { SERVICES.get(&key) } {
        linger();
        return Frontend::Service(*found);
    }
    if is_node_addr(addr) {
        return node_port(addr, port, proto, scope);
    }
    let mark = ServiceKey {
        addr: *addr,
        port: 0,
        proto: 0,
        scope,
    };
    // SAFETY: as above; one aligned u32, read once.
    match unsafe { SERVICES.get(&mark) } {
        Some(mark) if mark.flags & frontend::CLUSTER_IP != 0 => Frontend::UnknownPort,
        _ => Frontend::None,
    }
}

/// Most addresses are none of ours, and one load tells: false is certain.
#[inline(always)]
fn may_be_ours(addr: &Addr) -> bool {
    let (word, bit) = known::bit(addr);
    match KNOWN.get_ptr(word) {
        // SAFETY: an element of an array map; one aligned u64, read once.
        Some(word) => unsafe { core::ptr::read_volatile(word) & bit != 0 },
        None => true,
    }
}

/// The mark of the address, if it is a Service's as seen from inside.
#[inline(always)]
pub fn vip(addr: &Addr) -> Option<ServiceRef> {
    let mark = ServiceKey {
        addr: *addr,
        port: 0,
        proto: 0,
        scope: scope::INSIDE,
    };
    // SAFETY: as in `frontend`.
    unsafe { SERVICES.get(&mark) }.copied()
}

/// Who says what there is to say of packets to `addr`, as it comes in on `lb0`: the address itself if it is routed there, else
/// [`lb0::SPEAKER_V4`].
#[inline(always)]
pub fn speaker(addr: &Addr) -> Addr {
    match vip(addr) {
        Some(mark) if addr.is_v4() && mark.flags & frontend::ROUTED == 0 => lb0::SPEAKER_V4,
        _ => *addr,
    }
}

/// Has the service a backend to choose? False for an index that points nowhere.
#[inline(always)]
pub fn serves(index: u32) -> bool {
    match SVC.get_ptr(index) {
        Some(svc) => word(svc).count != 0,
        None => false,
    }
}

/// Is it an address that node ports answer on?
#[inline(always)]
pub fn is_node_addr(addr: &Addr) -> bool {
    // SAFETY: presence alone is read.
    unsafe { NODEADDRS.get(addr) }.is_some()
}

/// The node port `port` (host order) of the address's family, whether or not the address is one that node ports answer on.
#[inline(always)]
pub fn node_port(addr: &Addr, port: u16, proto: u8, scope: u8) -> Frontend {
    let key = NodePortKey::new(addr, port, proto, scope);
    // SAFETY: an element that was freed is reused only after an RCU barrier; copied at once.
    match unsafe { NODEPORTS.get(&key) } {
        Some(found) => Frontend::Service(*found),
        None => Frontend::None,
    }
}

/// The flags of a service (see [`flags`]); 0 for an index that points nowhere.
#[inline(always)]
pub fn flags(index: u32) -> u16 {
    match SVC.get_ptr(index) {
        // SAFETY: an element of an array map; one aligned u16, read once.
        Some(svc) => unsafe { (*svc).flags },
        None => 0,
    }
}

/// Word 0 of a service, loaded once.
#[inline(always)]
fn word(svc: *const Service) -> Word {
    // SAFETY: an element of an array map, 8-aligned, at least 8 bytes; valid while the program runs. Volatile, so that it
    // is one load and is made anew each time.
    Word::from_u64(unsafe { core::ptr::read_volatile(svc.cast::<u64>()) })
}

/// A slot, loaded once.
#[inline(always)]
fn slot(index: u32) -> Option<Slot> {
    let p = SLOTS.get_ptr(index)?;
    // SAFETY: an element of an array map, 8-aligned, 8 bytes; valid while the program runs.
    Some(Slot::from_u64(unsafe {
        core::ptr::read_volatile(p.cast::<u64>())
    }))
}

/// A backend by id, copied; `None` for a free id.
#[inline(always)]
pub fn backend(id: u32) -> Option<Backend> {
    let b = *BACKENDS.get(id)?;
    (b.port != 0).then_some(b)
}

/// [`backend`], after [`linger`].
#[inline(always)]
fn lingering_backend(id: u32) -> Option<Backend> {
    linger();
    backend(id)
}

/// See [`config::linger`]; outside of that test the verifier removes it.
#[inline(always)]
fn linger() {
    let turns = config::linger();
    if turns != 0 {
        // SAFETY: the callback has the signature that the helper asks for, and looks at no context.
        unsafe { bpf_loop(turns, turn as *mut c_void, ptr::null_mut(), 0) };
    }
}

/// One turn of [`linger`].
#[inline(never)]
extern "C" fn turn(_index: u32, _context: *mut c_void) -> i64 {
    0
}

/// Is the backend still a member of the service, with all of `wanted` (see [`member`])?
#[inline(always)]
pub fn is_member(service: u32, backend: u32, wanted: u32) -> bool {
    // SAFETY: one aligned u32, read once; an element reused for another key fails the caller's next check at worst once.
    match unsafe { MEMBERS.get(&MemberKey { service, backend }) } {
        Some(flags) => *flags & wanted == wanted,
        None => false,
    }
}

/// Chooses a backend of the service for this client, by affinity first, then by the service's scheduler.
#[inline(always)]
pub fn choose(service: &ServiceRef, client: &Client) -> Result<Chosen, Refusal> {
    let Some(svc) = SVC.get_ptr(service.index) else {
        count(Reason::BadIndex);
        return Err(Refusal::Broken);
    };
    // SAFETY: an element of an array map; each field is read once.
    let (affinity_secs, scheduler) = unsafe { ((*svc).affinity_secs, (*svc).scheduler) };
    if affinity_secs != 0
        && let Some(known) = remembered(service.index, client, affinity_secs)
    {
        return Ok(known);
    }
    let chosen = pick(svc, service, scheduler, client)?;
    if affinity_secs != 0 {
        remember(service.index, client, chosen.id);
    }
    Ok(chosen)
}

/// Reads word 0 and one slot of its range; once more if the slot turned out to be another service's.
#[inline(always)]
fn pick(
    svc: *const Service,
    service: &ServiceRef,
    scheduler: u8,
    client: &Client,
) -> Result<Chosen, Refusal> {
    let input = input(service.index, scheduler, client);
    let mut retried = false;
    loop {
        let w = word(svc);
        if w.count == 0 {
            // SAFETY: an element of an array map; one aligned u16, read once.
            let found = unsafe { (*svc).flags };
            return Err(if found & flags::NO_LOCAL != 0 {
                Refusal::NoLocal
            } else {
                Refusal::NoEndpoint
            });
        }
        let index = w.base + u32::from(select::offset(scheduler, w.count, input));
        linger();
        if let Some(s) = slot(index)
            && s.service == service.index
            && let Some(b) = lingering_backend(s.backend)
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
            count(Reason::StaleSlot);
            return Err(Refusal::Broken);
        }
        retried = true;
    }
}

/// Only what the scheduler looks at is computed.
#[inline(always)]
fn input(service: u32, scheduler: u8, client: &Client) -> Input {
    let mut input = Input {
        random: 0,
        cursor: 0,
        source_hash: 0,
    };
    match select::needs(scheduler) {
        Need::Random => {
            input.random = match client.flow_hash {
                Some(h) => h,
                // SAFETY: a helper without arguments.
                None => unsafe { bpf_get_prandom_u32() },
            };
        }
        Need::Cursor => {
            if let Some(cursor) = SCHED.get_ptr_mut(service) {
                // SAFETY: an aligned u64 of an array map, shared by all CPUs, only ever added to.
                let before = unsafe { atomic::fetch_add(cursor, 1) };
                input.cursor = before as u32;
            }
        }
        Need::SourceHash => {
            input.source_hash = select::hash(client.affinity.words());
        }
    }
    input
}

/// The backend that this client had, if its record is fresh and the backend still eligible here.
#[inline(always)]
fn remembered(service: u32, client: &Client, secs: u32) -> Option<Chosen> {
    let key = AffinityKey {
        client: client.affinity,
        service,
    };
    let record = AFFINITY.get_ptr_mut(&key)?;
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: an element of an LRU map, valid while the program runs; what was read is checked against `lb_members` below.
    let (last, id) = unsafe { ((*record).last_used_ns, (*record).backend) };
    if now.wrapping_sub(last) > u64::from(secs) * 1_000_000_000 {
        return None;
    }
    if !is_member(service, id, member::ELIGIBLE) {
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
fn remember(service: u32, client: &Client, id: u32) {
    let key = AffinityKey {
        client: client.affinity,
        service,
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

/// Runs on this node?
#[inline(always)]
pub fn is_local(b: &Backend) -> bool {
    b.flags & backend::flags::LOCAL != 0
}
