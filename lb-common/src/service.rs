//! Frontends and services: what a destination address means, and which range of slots serves it.
//! Owns the layout of `lb_services`, `lb_nodeports`, `lb_nodeaddrs`, `lb_svc`, `lb_slots`, `lb_members` and `lb_svc_stats`.

use crate::addr::Addr;

/// From where a connection comes: `externalTrafficPolicy` and `internalTrafficPolicy` are two entries, not branches.
pub mod scope {
    /// From this cluster: sockets of this node's pods and processes, packets of its pods.
    pub const INSIDE: u8 = 0;
    /// From outside: packets that come in on a node device.
    pub const OUTSIDE: u8 = 1;
}

/// Key of `lb_services`. An entry with `port` 0 and `proto` 0 marks the address as a VIP: what misses the exact entry and
/// hits this one is an undefined port of a known VIP.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct ServiceKey {
    /// The VIP.
    pub addr: Addr,
    /// Host byte order.
    pub port: u16,
    /// IANA protocol number; 0 in the mark of a VIP.
    pub proto: u8,
    /// See [`scope`].
    pub scope: u8,
}

/// Key of `lb_nodeports`: the addresses it answers on stand in `lb_nodeaddrs`. One entry a family, since a service may
/// have one family only, and the backends of two are different ones.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "user", derive(Debug))]
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

/// Value of `lb_services` and `lb_nodeports`. The kernel recycles the element of a deleted or replaced key at once, under
/// readers that still look at it: between a write that frees an element and the next one that takes one stands a barrier.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct ServiceRef {
    /// Index into `lb_svc`, `lb_sched` and `lb_svc_stats`.
    pub index: u32,
    /// See [`frontend`].
    pub flags: u32,
}

/// Bits of [`ServiceRef::flags`].
pub mod frontend {
    /// A cluster IP.
    pub const CLUSTER_IP: u32 = 1;
    /// A node port (all entries of `lb_nodeports`).
    pub const NODE_PORT: u32 = 1 << 1;
    /// An ingress IP of a load balancer.
    pub const LOAD_BALANCER: u32 = 1 << 2;
    /// One of `spec.externalIPs`.
    pub const EXTERNAL_IP: u32 = 1 << 3;
    /// The mark of a VIP: it leads nowhere, and `index` (0: none) is the service whose backends tell whether the address
    /// answers ping. With [`CLUSTER_IP`] its undefined ports are refused; with
    /// [`LOAD_BALANCER`] alone they are not (such an address may be a node's own, with other listeners).
    pub const VIP_MARK: u32 = 1 << 4;
    /// Beside [`VIP_MARK`]: the agent routes the address to `lb0`. In a frontend with [`LOAD_BALANCER`] or [`EXTERNAL_IP`]: it
    /// leads this port there, since its service has source ranges or it is of SCTP: sockets are not translated, and their
    /// packets are judged or balanced there.
    pub const ROUTED: u32 = 1 << 5;
}

/// Value of `lb_nodeaddrs`: an address on which node ports answer.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct NodeAddr {
    /// Interface index that carries the address.
    pub ifindex: u32,
    /// Reserved, zero.
    pub flags: u32,
}

/// Value of `lb_svc`. The first eight bytes are word 0: loaded and stored as one aligned u64, which is the atomic switch
/// of a service from one range of slots to the next.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct Service {
    /// First slot.
    pub base: u32,
    /// How many slots; 0 refuses.
    pub count: u16,
    /// Goes up by one with each switch (wrapping): a reader of a stale word sees another generation.
    pub generation: u16,
    /// Session affinity, seconds; 0 is off.
    pub affinity_secs: u32,
    /// See [`scheduler`].
    pub scheduler: u8,
    /// Reserved, zero.
    pub pad: u8,
    /// See [`flags`].
    pub flags: u16,
    /// Identity for people and metrics; stable across restarts, the service index today. 0 in an unused entry.
    pub id: u32,
    /// Reserved, zero.
    pub pad2: [u32; 3],
}

impl Service {
    /// An entry that was never written, or was cleared.
    pub const EMPTY: Self = Self {
        base: 0,
        count: 0,
        generation: 0,
        affinity_secs: 0,
        scheduler: 0,
        pad: 0,
        flags: 0,
        id: 0,
        pad2: [0; 3],
    };
}

/// Word 0 of a [`Service`], taken apart.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct Word {
    /// First slot.
    pub base: u32,
    /// How many slots.
    pub count: u16,
    /// See [`Service::generation`].
    pub generation: u16,
}

impl Word {
    /// As it stands in memory on a little-endian machine.
    #[inline(always)]
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.base as u64 | (self.count as u64) << 32 | (self.generation as u64) << 48
    }

    /// The inverse of [`Word::to_u64`].
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "takes the word apart")]
    pub const fn from_u64(w: u64) -> Self {
        Self {
            base: w as u32,
            count: (w >> 32) as u16,
            generation: (w >> 48) as u16,
        }
    }
}

/// Numbers of [`Service::scheduler`].
pub mod scheduler {
    /// Uniform, a fresh number for each connection; deterministic on the 5-tuple in the packet path.
    pub const RANDOM: u8 = 0;
    /// Round robin by the cursor in `lb_sched`.
    pub const RR: u8 = 1;
    /// Weighted round robin: the slots are already expanded by weight; the cursor walks them.
    pub const WRR: u8 = 2;
    /// Fewest open connections (`lb_active`).
    pub const LC: u8 = 3;
    /// Fewest open connections per weight.
    pub const WLC: u8 = 4;
    /// Hash of the source address.
    pub const SH: u8 = 5;
    /// Hash of the 5-tuple into a Maglev table expanded into the slots.
    pub const MAGLEV: u8 = 6;
}

/// Bits of [`Service::flags`].
pub mod flags {
    /// At least one endpoint exists somewhere, though perhaps none of them is eligible here.
    pub const HAS_ENDPOINTS: u16 = 1;
    /// Local-only policy without a local endpoint while others exist: unreachable rather than refused.
    pub const NO_LOCAL: u16 = 1 << 1;
    /// For frontends with [`LOAD_BALANCER`](super::frontend::LOAD_BALANCER), sources are checked against `lb_srcranges`.
    pub const SOURCE_RANGES: u16 = 1 << 2;
}

/// Value of `lb_slots`: one u64, so that it is read and written at once.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct Slot {
    /// Index into `lb_backends`.
    pub backend: u32,
    /// The service this slot belongs to; a reader that finds another one has read a stale word 0 and reads it again.
    pub service: u32,
}

impl Slot {
    /// A slot of no service: index `u32::MAX` is never given out.
    pub const FREE: Self = Self {
        backend: 0,
        service: u32::MAX,
    };

    /// As it stands in memory on a little-endian machine.
    #[inline(always)]
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.backend as u64 | (self.service as u64) << 32
    }

    /// The inverse of [`Slot::to_u64`].
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "takes the word apart")]
    pub const fn from_u64(w: u64) -> Self {
        Self {
            backend: w as u32,
            service: (w >> 32) as u32,
        }
    }
}

/// Key of `lb_members`: present while the backend is an eligible member of the service, so that affinity and flow records
/// can ask whether they still hold.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct MemberKey {
    /// Service index.
    pub service: u32,
    /// Backend id.
    pub backend: u32,
}

/// Value of `lb_members`: see [`member`].
pub type MemberFlags = u32;

/// Bits of [`MemberFlags`].
pub mod member {
    /// New connections may choose it (it stands in the slots).
    pub const ELIGIBLE: u32 = 1;
    /// It still serves (ready, or serving while terminating): records of connections that it has stay valid.
    pub const SERVING: u32 = 1 << 1;
}

/// Value of `lb_svc_stats`, one a CPU.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct ServiceStats {
    /// Connections (and unconnected UDP datagrams' first choices) given a backend.
    pub connections: u64,
    /// Packets translated by the packet path, both directions.
    pub packets: u64,
    /// Their bytes, from the network header.
    pub bytes: u64,
    /// Connections or packets refused or dropped for this service.
    pub rejects: u64,
}

const _: () = {
    assert!(size_of::<ServiceKey>() == 20);
    assert!(size_of::<NodePortKey>() == 8);
    assert!(size_of::<ServiceRef>() == 8);
    assert!(size_of::<NodeAddr>() == 8);
    assert!(size_of::<Service>() == 32);
    assert!(size_of::<Slot>() == 8);
    assert!(size_of::<MemberKey>() == 8);
    assert!(size_of::<ServiceStats>() == 32);
};
