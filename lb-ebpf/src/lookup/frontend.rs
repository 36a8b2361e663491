//! What a destination is to us: a port of a service, a known VIP, or none of ours.

use aya_ebpf::btf_maps::Array;
use lb_common::{
    Addr,
    frontend::{self, FrontendValue, NodePortKey, VipKey, scope},
    known, lb0,
    maps::{self, MMAPABLE},
};

use super::test_delay::test_delay;
use crate::{
    config,
    maps::{FRONTENDS, KNOWN, KNOWN_BACKENDS, NODEADDRS, NODEPORTS},
    packet::{self, Packet},
    route,
};

/// What a destination is to us.
#[derive(Clone, Copy)]
#[must_use]
pub enum Frontend {
    /// Not ours: it passes untouched.
    None,
    /// A port of a service.
    Service(FrontendValue),
    /// A known VIP, on a port that it does not define.
    UnknownPort,
}

/// The service at `addr:port` (host order) as seen from `scope`; node ports too if `addr` is one
/// they answer on.
#[inline(always)]
pub fn frontend(addr: &Addr, port: u16, proto: u8, scope: u8) -> Frontend {
    find(addr, port, proto, scope, test_delay)
}

#[inline(always)]
fn find(addr: &Addr, port: u16, proto: u8, scope: u8, between: impl FnOnce()) -> Frontend {
    if !is_known(&KNOWN, addr) {
        return Frontend::None;
    }
    let mut key = VipKey {
        addr: *addr,
        port,
        proto,
        scope,
    };
    // SAFETY: an element that was freed is reused only after an RCU barrier; copied at once.
    if let Some(found) = unsafe { FRONTENDS.get(&key) } {
        between();
        return Frontend::Service(*found);
    }
    if is_node_addr(addr) {
        return node_port(addr, port, proto, scope);
    }
    // The same key, for another one would need stack: that of the address's mark.
    (key.port, key.proto) = (0, 0);
    // SAFETY: as above; one aligned u32, read once.
    match unsafe { FRONTENDS.get(&key) } {
        Some(vip) if vip.flags & frontend::CLUSTER_IP != 0 => Frontend::UnknownPort,
        _ => Frontend::None,
    }
}

/// [`frontend`] as a function of the kernel's own, for the packet path, which asks at several
/// places: its keys cost the caller no stack. What it finds is one register.
#[inline(always)]
pub fn frontend_by_call(addr: &Addr, port: u16, proto: u8, scope: u8) -> Frontend {
    let at = u32::from(port) | u32::from(proto) << 16 | u32::from(scope) << 24;
    // SAFETY: a reference outlives the call.
    match unsafe { ask_frontend(addr, at) } {
        ASKED_NONE => Frontend::None,
        ASKED_UNKNOWN_PORT => Frontend::UnknownPort,
        found => Frontend::Service(FrontendValue {
            pool: found as u32,
            flags: (found >> 32) as u32,
        }),
    }
}

/// [`frontend_by_call`] of a packet that leaves by `lb0`, as from inside. The address that stands for
/// loopback ([`is_own_loopback`]) has the node ports of its family, and no other port.
#[inline(always)]
pub fn frontend_on_lb0(p: &Packet) -> Frontend {
    if !is_own_loopback(&p.dst) {
        return frontend_by_call(&p.dst, p.dport, p.proto, scope::INTERNAL);
    }
    match node_port(&p.dst, p.dport, p.proto, scope::INTERNAL) {
        Frontend::None => Frontend::UnknownPort,
        found => found,
    }
}

/// What a frontend of `externalTrafficPolicy: Local`, found as one from outside sees it, is to this
/// packet, if a pod sent it: kube-proxy's rule, by its `clusterCIDR`; and what comes in on a device
/// of pods comes from one.
#[inline(always)]
pub fn from_inside(p: &Packet, outer: &FrontendValue) -> Option<FrontendValue> {
    if outer.flags & frontend::LOCAL_FROM_OUTSIDE == 0 {
        return None;
    }
    if !config::is_pod(&p.src) && !route::has_pods(p.ifindex) {
        return None;
    }
    match frontend_by_call(&p.dst, p.dport, p.proto, scope::INTERNAL) {
        Frontend::Service(inner) => Some(inner),
        Frontend::UnknownPort | Frontend::None => None,
    }
}

/// Answers of `ask_frontend` that no pool and its flags make: flags have few bits.
const ASKED_NONE: u64 = u64::MAX;
const ASKED_UNKNOWN_PORT: u64 = u64::MAX - 1;

/// Exported, so that the verifier reads it once, whatever asks. For it the address may be null.
///
/// # Safety
///
/// `addr` is null, or points to an address that outlives the call.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn ask_frontend(addr: *const Addr, at: u32) -> u64 {
    // SAFETY: the caller's promise. Copied, since before Linux 6.2 what an exported function was
    // handed is no key.
    let Some(addr) = (unsafe { addr.as_ref() }).copied() else {
        return ASKED_NONE;
    };
    let (port, proto, scope) = (at as u16, (at >> 16) as u8, (at >> 24) as u8);
    // Without the delay of a test, whose call would make the longest chain of stacks too long.
    match find(&addr, port, proto, scope, || ()) {
        Frontend::None => ASKED_NONE,
        Frontend::UnknownPort => ASKED_UNKNOWN_PORT,
        Frontend::Service(found) => u64::from(found.pool) | u64::from(found.flags) << 32,
    }
}

/// Has a backend this address? False is certain, but for backends that the agent did not know when
/// a flow to them began.
#[inline(always)]
pub fn may_be_backend(addr: &Addr) -> bool {
    is_known(&KNOWN_BACKENDS, addr)
}

/// Is this number (host order) a node port? False is certain.
#[inline(always)]
pub fn may_be_node_port(port: u16) -> bool {
    is_known(&KNOWN, &known::of_port(port))
}

/// False is certain. Most addresses are not ours, and one load shows it.
#[inline(always)]
fn is_known(map: &Array<u64, { maps::KNOWN.capacity as usize }, MMAPABLE>, addr: &Addr) -> bool {
    let (word, bit) = known::bit(addr);
    match map.get_ptr(word) {
        // SAFETY: an element of an array map; one aligned u64, read once.
        Some(word) => unsafe { core::ptr::read_volatile(word) & bit != 0 },
        None => true,
    }
}

/// The key of the entry that stands for a whole VIP.
#[inline(always)]
fn vip_key(addr: &Addr, scope: u8) -> VipKey {
    VipKey {
        addr: *addr,
        port: 0,
        proto: 0,
        scope,
    }
}

/// The entry of a VIP as seen from inside, if the address is one.
#[inline(always)]
pub fn vip(addr: &Addr) -> Option<FrontendValue> {
    // SAFETY: as in `frontend`.
    unsafe { FRONTENDS.get(&vip_key(addr, scope::INTERNAL)) }.copied()
}

/// The same, where most addresses are none: one load shows it.
#[inline(always)]
pub fn known_vip(addr: &Addr) -> Option<FrontendValue> {
    if is_known(&KNOWN, addr) {
        vip(addr)
    } else {
        None
    }
}

/// Is the address a Service's, and none that this node has for itself?
#[inline(always)]
pub fn is_vip(addr: &Addr) -> bool {
    // SAFETY: presence alone is read.
    unsafe { FRONTENDS.get(&vip_key(addr, scope::EXTERNAL)) }.is_some() && !is_node_addr(addr)
}

/// The source of ICMP about packets to `addr` that comes in on `lb0`: the address itself if it is
/// routed to `lb0`, else [`lb0::ICMP_SOURCE_V4`].
#[inline(always)]
pub fn icmp_source(addr: &Addr) -> Addr {
    match vip(addr) {
        Some(vip) if addr.is_v4() && vip.flags & frontend::ROUTED == 0 => lb0::ICMP_SOURCE_V4,
        _ => *addr,
    }
}

/// Does the address stand for loopback, for sockets that are bound to it?
#[inline(always)]
pub fn is_own_loopback(addr: &Addr) -> bool {
    let stands_for_it = if addr.is_v4() {
        lb0::LOOPBACK_V4
    } else {
        lb0::LOOPBACK_V6
    };
    packet::same(addr, &stands_for_it)
}

/// Is it an address that node ports answer on?
#[inline(always)]
pub fn is_node_addr(addr: &Addr) -> bool {
    // SAFETY: presence alone is read.
    unsafe { NODEADDRS.get(addr) }.is_some()
}

/// The node port `port` (host order) of the address's family, whether or not node ports answer on
/// the address.
#[inline(always)]
pub fn node_port(addr: &Addr, port: u16, proto: u8, scope: u8) -> Frontend {
    let key = NodePortKey::new(addr, port, proto, scope);
    // SAFETY: an element that was freed is reused only after an RCU barrier; copied at once.
    match unsafe { NODEPORTS.get(&key) } {
        Some(found) => Frontend::Service(*found),
        None => Frontend::None,
    }
}
