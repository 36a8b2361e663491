//! Frontends: what a destination address and port mean. Layout of `lb_frontends`, `lb_nodeports`
//! and `lb_nodeaddrs`.

use crate::addr::Addr;

/// From where a connection comes: `externalTrafficPolicy` and `internalTrafficPolicy` are two
/// entries, not branches.
pub mod scope {
    /// From this cluster: sockets of this node's pods and processes, packets of its pods.
    pub const INTERNAL: u8 = 0;
    /// From outside: packets that come in on a node device.
    pub const EXTERNAL: u8 = 1;
}

/// Key of `lb_frontends`. An entry with `port` 0 and `proto` 0 marks the address as a VIP: what
/// misses the exact entry and hits this one is an undefined port of a known VIP.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct VipKey {
    /// The VIP.
    pub addr: Addr,
    /// Host byte order.
    pub port: u16,
    /// IANA protocol number; 0 in the mark of a VIP.
    pub proto: u8,
    /// See [`scope`].
    pub scope: u8,
}

/// Key of `lb_nodeports`: the addresses it answers on stand in `lb_nodeaddrs`. One entry a family,
/// since a Service may have one family only, and the backends of two are different ones.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct NodePortKey {
    /// Host byte order.
    pub port: u16,
    /// IANA protocol number.
    pub proto: u8,
    /// See [`scope`].
    pub scope: u8,
    /// 4 or 6: the family of the destination address.
    pub family: u8,
    /// Reserved, zero.
    pub pad: [u8; 3],
}

impl NodePortKey {
    /// The key for a destination of the address's family (IPv4-mapped is IPv4).
    #[inline(always)]
    #[must_use]
    pub const fn new(family_of: &Addr, port: u16, proto: u8, scope: u8) -> Self {
        Self {
            port,
            proto,
            scope,
            family: if family_of.is_v4() { 4 } else { 6 },
            pad: [0; 3],
        }
    }
}

/// Value of `lb_frontends` and `lb_nodeports`. The kernel recycles the element of a deleted or
/// replaced key at once, under readers that still look at it: between a write that frees an element
/// and the next one that takes one stands a barrier.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct FrontendValue {
    /// Index into `lb_pools`, `lb_sched` and `lb_pool_stats`.
    pub pool: u32,
    /// Bits of this module, such as [`CLUSTER_IP`].
    pub flags: u32,
}

/// A cluster IP.
pub const CLUSTER_IP: u32 = 1;
/// A node port (all entries of `lb_nodeports`).
pub const NODE_PORT: u32 = 1 << 1;
/// An ingress IP of a load balancer.
pub const LOAD_BALANCER: u32 = 1 << 2;
/// One of `spec.externalIPs`.
pub const EXTERNAL_IP: u32 = 1 << 3;
/// The mark of a VIP: it leads nowhere, and `pool` (0: none) is the pool whose backends tell
/// whether the address answers ping. With [`CLUSTER_IP`] its undefined ports are refused; with
/// [`LOAD_BALANCER`] alone they are not (such an address may be a node's own, with other
/// listeners).
pub const VIP_MARK: u32 = 1 << 4;
/// Beside [`VIP_MARK`]: the agent routes the address to `lb0`. In a frontend with [`LOAD_BALANCER`]
/// or [`EXTERNAL_IP`]: it leads this port there, since its Service has source ranges or it is of
/// SCTP: sockets are not translated, and their packets are judged or balanced there.
pub const ROUTED: u32 = 1 << 5;

/// In a frontend as seen from outside: `externalTrafficPolicy: Local` holds, so that from inside
/// another pool serves it.
pub const LOCAL_FROM_OUTSIDE: u32 = 1 << 6;

/// Value of `lb_nodeaddrs`: an address on which node ports answer.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct NodeAddr {
    /// Interface index that carries the address.
    pub ifindex: u32,
    /// Reserved, zero.
    pub flags: u32,
}

const _: () = {
    assert!(size_of::<VipKey>() == 20);
    assert!(size_of::<NodePortKey>() == 8);
    assert!(size_of::<FrontendValue>() == 8);
    assert!(size_of::<NodeAddr>() == 8);
};
