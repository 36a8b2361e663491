//! What is remembered of a socket: its record in `lb_sk`, its count in `lb_active`, and the senders
//! that an unconnected one expects answers from (`lb_udp_peers`). Nothing else writes these maps.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_SK_STORAGE_GET_F_CREATE},
    helpers::generated::{bpf_ktime_get_coarse_ns, bpf_sk_storage_get, bpf_skc_to_mptcp_sock},
};
use lb_common::{
    Addr, Reason, select,
    sock::{Agent, SockRecord, UdpPeer, UdpPeerKey, kind},
};

use crate::{
    atomic, config,
    count::count,
    lru,
    maps::{ACTIVE, AGENT, SK, UDP_PEERS},
};

/// The socket's record, if it ever had one (it may be cleared: [`kind::NONE`]).
#[inline(always)]
pub fn find(sk: *mut c_void) -> Option<*mut SockRecord> {
    storage(sk, ptr::null_mut(), 0)
}

#[inline(always)]
fn storage(sk: *mut c_void, init: *mut SockRecord, flags: u32) -> Option<*mut SockRecord> {
    // SAFETY: a live socket, or the context of a program that has one; `init` is null or a whole
    // record.
    let p = unsafe {
        bpf_sk_storage_get(
            (&raw const SK).cast_mut().cast(),
            sk,
            init.cast(),
            u64::from(flags),
        )
    };
    (!p.is_null()).then_some(p.cast())
}

/// Remembers a translation. If `record.counted` says so the backend has one open connection more;
/// what the socket was counted for before is taken away.
#[inline(always)]
pub fn remember(sk: *mut c_void, record: &mut SockRecord) {
    if let Some(p) = find(sk) {
        // SAFETY: the socket's own storage, alive while the program runs. Two threads that connect
        // one socket at once may mix their records: the recount repairs the sum.
        unsafe {
            uncount(p);
            *p = *record;
        }
    } else if storage(sk, record, BPF_SK_STORAGE_GET_F_CREATE).is_none() {
        count(Reason::SockStorageFailed);
        if let Some(agent) = AGENT.get_ptr_mut(0) {
            // SAFETY: an aligned u32 of an array map, written whole.
            unsafe { (*agent).records_lost = Agent::loss_time(coarse_now()) };
        }
        return;
    }
    if record.counted != 0 {
        opened(record.backend_id);
    }
}

/// Clears a record: the socket talks to the address that it named.
///
/// # Safety
/// `record` comes from [`find`] in this run.
#[inline(always)]
pub unsafe fn clear(record: *mut SockRecord) {
    // SAFETY: the caller's promise.
    unsafe {
        uncount(record);
        (*record).kind = kind::NONE;
    }
}

/// One open connection more for the socket's backend, once.
///
/// # Safety
/// As for [`clear`].
#[inline(always)]
pub unsafe fn recount(record: *mut SockRecord) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*record).counted == 0 {
            (*record).counted = 1;
            opened((*record).backend_id);
        }
    }
}

/// One open connection less, if the socket was counted.
///
/// # Safety
/// As for [`clear`].
#[inline(always)]
pub unsafe fn uncount(record: *mut SockRecord) {
    // SAFETY: the caller's promise.
    let backend = unsafe {
        if (*record).counted == 0 {
            return;
        }
        (*record).counted = 0;
        (*record).backend_id
    };
    if let Some(n) = ACTIVE.get_ptr_mut(backend) {
        // SAFETY: an aligned u64 of an array map, changed by atomic additions only.
        unsafe { atomic::sub_one(n) };
    }
}

#[inline(always)]
fn opened(backend: u32) {
    if let Some(n) = ACTIVE.get_ptr_mut(backend) {
        // SAFETY: as in `uncount`.
        unsafe { atomic::add(n, 1) };
    }
}

/// The MPTCP socket whose subflow `sk` is: the one that the application holds, and that is asked
/// for its peer.
#[inline(always)]
pub fn mptcp_parent(sk: *mut c_void) -> Option<*mut c_void> {
    if config::mptcp() == 0 {
        return None;
    }
    // SAFETY: a live socket; Linux 5.19.
    let parent = unsafe { bpf_skc_to_mptcp_sock(sk) };
    (!parent.is_null()).then_some(parent.cast())
}

/// Has a record been lost recently, so that a socket without one may still have used a service?
#[inline(always)]
pub fn records_lost() -> bool {
    let lost = AGENT.get(0).map_or(0, |a| a.records_lost);
    lost != 0 && Agent::has_lost(lost, coarse_now())
}

/// The kernel's monotonic clock as of its last tick, nanoseconds.
#[inline(always)]
fn coarse_now() -> u64 {
    // SAFETY: no arguments; Linux 5.11.
    unsafe { bpf_ktime_get_coarse_ns() }
}

#[inline(always)]
fn peer_key(cookie: u64, addr: &Addr, port: u16) -> UdpPeerKey {
    UdpPeerKey {
        cookie,
        addr: *addr,
        port,
        pad: [0; 3],
    }
}

/// A hash of the key, kept in the value: the kernel may give an evicted element to another key
/// under a reader's hands.
#[inline(always)]
fn peer_check(key: &UdpPeerKey) -> u32 {
    let a = key.addr.words();
    select::hash([
        key.cookie as u32,
        (key.cookie >> 32) as u32,
        a[0],
        a[1],
        a[2],
        a[3],
        u32::from(key.port),
    ])
}

/// Which VIP an answer from this address to this socket comes from.
#[inline(always)]
pub fn peer(cookie: u64, addr: &Addr, port: u16) -> Option<UdpPeer> {
    let key = peer_key(cookie, addr, port);
    // SAFETY: copied at once, and `check` tells whether the element was still this key's.
    let found = *unsafe { UDP_PEERS.get(&key) }?;
    (found.check == peer_check(&key)).then_some(found)
}

/// From now on an answer from the record's backend to this socket comes from the record's VIP.
#[inline(always)]
pub fn expect_peer(record: &SockRecord) {
    let key = peer_key(record.cookie, &record.backend, record.backend_port);
    let value = UdpPeer {
        addr: record.vip,
        port: record.vip_port,
        pad: 0,
        pool: record.pool,
        backend_id: record.backend_id,
        check: peer_check(&key),
    };
    // SAFETY: copied at once; a torn or foreign value is only not equal.
    if let Some(known) = unsafe { UDP_PEERS.get(&key) }
        && *known == value
    {
        return;
    }
    if lru::insert(&UDP_PEERS, &key, &value, BPF_ANY).is_err() {
        count(Reason::UdpPeerFailed);
    }
}

/// From now on an answer from this address to this socket comes from this address.
#[inline(always)]
pub fn forget_peer(cookie: u64, addr: &Addr, port: u16) {
    let key = peer_key(cookie, addr, port);
    if UDP_PEERS.get_ptr(&key).is_some() {
        // Another thread, or the kernel's LRU, may have been faster.
        let _ = UDP_PEERS.remove(&key);
    }
}
