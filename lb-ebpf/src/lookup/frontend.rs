//! What a destination is to us: a port of a service, a known VIP, or none of ours.

use lb_common::{
    Addr,
    frontend::{self, FrontendValue, NodePortKey, VipKey, scope},
    known, lb0,
};

use super::test_delay::test_delay;
use crate::maps::{FRONTENDS, KNOWN, NODEADDRS, NODEPORTS};

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
    if !may_be_ours(addr) {
        return Frontend::None;
    }
    let key = VipKey {
        addr: *addr,
        port,
        proto,
        scope,
    };
    // SAFETY: an element that was freed is reused only after an RCU barrier; copied at once.
    if let Some(found) = unsafe { FRONTENDS.get(&key) } {
        test_delay();
        return Frontend::Service(*found);
    }
    if is_node_addr(addr) {
        return node_port(addr, port, proto, scope);
    }
    // SAFETY: as above; one aligned u32, read once.
    match unsafe { FRONTENDS.get(&vip_key(addr, scope)) } {
        Some(vip) if vip.flags & frontend::CLUSTER_IP != 0 => Frontend::UnknownPort,
        _ => Frontend::None,
    }
}

/// False is certain. Most addresses are not ours, and one load shows it.
#[inline(always)]
fn may_be_ours(addr: &Addr) -> bool {
    let (word, bit) = known::bit(addr);
    match KNOWN.get_ptr(word) {
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
