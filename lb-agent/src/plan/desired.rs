//! The shape of a plan: pools of backends, and the frontends that lead to them.

use std::{fmt, net::IpAddr, num::NonZeroU16, sync::Arc, time::Duration};

use lb_common::{
    Addr, Proto,
    backend::state,
    frontend::{NodePortKey, VipKey},
    member,
    pool::flags,
    scheduler::Scheduler,
};

use super::{
    PlanError,
    no_local::NoLocal,
    slots::{self, Slots, Spill},
};
use crate::model::slow_start::PARTS;

/// What one Service needs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServicePlan {
    /// Each becomes a pool index.
    pub pools: Vec<Pool>,
    /// No key twice.
    pub frontends: Vec<Frontend>,
    /// What is not programmed as the object asks, in words.
    pub problems: Vec<String>,
    /// SCTP ports that this node's own clients cannot reach, since there is no `lb0`. Each is
    /// among the problems too.
    pub sctp_ports: usize,
    /// What its health check listens for, if it has one.
    pub health: Option<HealthCheck>,
    /// Ports with a local-only policy and no endpoint on this node.
    pub no_local: NoLocal,
}

/// An IP family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpFamily {
    /// The family of an address.
    #[must_use]
    pub fn of(addr: &IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A Service's `healthCheckNodePort`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    /// The same in both families.
    pub port: NonZeroU16,
    /// Ready endpoints on this node, one count for IPv4 and one for IPv6; `None` for a family that
    /// the Service does not have, in which nothing listens.
    pub local_endpoints: [Option<u32>; 2],
}

/// Which endpoints serve a pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TrafficPolicy {
    /// All of the cluster, by topology hints.
    Cluster,
    /// Those of this node.
    Local,
}

/// Names a pool among those of its Service; stable while the Service's ports keep their names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PoolId {
    /// Name of the port.
    pub port: Arc<str>,
    /// Its protocol.
    pub proto: Proto,
    /// Its family.
    pub family: IpFamily,
    /// Which endpoints.
    pub policy: TrafficPolicy,
}

/// The backends behind one or more frontends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Which one.
    pub id: PoolId,
    /// See [`lb_common::scheduler`].
    pub scheduler: u8,
    /// 0 is off.
    pub affinity_secs: u32,
    /// How many open connections each backend may have; 0: any number.
    pub max_connections: u32,
    /// How old TCP connections may become, in seconds, while there is another backend to go to; 0:
    /// of any age.
    pub max_age_secs: u32,
    /// Above how much of the average connections leave the members that topology hints prefer, in
    /// percent; `None`: never.
    pub spill: Option<u16>,
    /// How long connections of a backend that left may go on; `None`: for ever.
    pub grace: Option<Duration>,
    /// See [`lb_common::pool::flags`].
    pub flags: u16,
    /// Networks and their prefix lengths, counted in the 128 bits of an [`Addr`].
    pub source_ranges: Box<[(Addr, u8)]>,
    /// Sorted by address and port, none twice.
    pub members: Vec<Member>,
    /// Its share of its Service's slots, see [`slots::share`].
    pub share: usize,
    /// Among what its scheduler chooses.
    pub slots: Slots,
    /// Why it cannot be programmed; its entries in the maps stay as they are.
    pub refused: Option<PlanError>,
}

impl Pool {
    /// How old connections may become now: of any age where a client would come back to the same
    /// backend, since it is the only one.
    #[must_use]
    pub fn max_age_now(&self) -> u32 {
        let others = self.slots.spill.iter().flat_map(|spill| &spill.outside);
        let mut all = self.slots.members.iter().chain(others);
        match all.next() {
            Some(first) if all.any(|other| other != first) => self.max_age_secs,
            _ => 0,
        }
    }

    /// Gives its eligible members slots, as its scheduler and their weights ask.
    pub fn set_slots(&mut self) {
        let scheduler = Scheduler::from_number(self.scheduler).unwrap_or_default();
        self.slots = match self.refused {
            None => slots::slots(scheduler, &self.members, self.share),
            Some(_) => Slots::default(),
        };
        if self.refused.is_none()
            && let Some(percent) = self.spill
        {
            self.slots.spill = Spill::new(percent, self.max_connections, scheduler, &self.members);
        }
        self.forget_outside();
        self.flags &= !(flags::WEIGHTED | flags::SPILLS);
        if !self.slots.weights.is_empty() {
            self.flags |= flags::WEIGHTED;
        }
        if self.slots.spill.is_some() {
            self.flags |= flags::SPILLS;
        }
    }

    /// Members that topology hints do not prefer are eligible only where they get what leaves, or
    /// have the slots, since nobody is preferred; then they are as others are.
    fn forget_outside(&mut self) {
        if self.slots.spill.is_some() {
            return;
        }
        let have_slots = self.slots.members.first().is_some_and(|at| {
            let member = self.members.get(*at as usize);
            member.is_some_and(|member| member.flags.has(MemberFlags::OUTSIDE))
        });
        let forgotten = MemberFlags::OUTSIDE.with(MemberFlags::ELIGIBLE, !have_slots);
        for member in &mut self.members {
            if member.flags.has(MemberFlags::OUTSIDE) {
                member.flags = member.flags.without(forgotten);
            }
        }
    }
}

/// A backend in a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Where it listens.
    pub addr: Addr,
    /// Host byte order.
    pub port: u16,
    /// What it is to the pool.
    pub flags: MemberFlags,
}

/// A member's flags and its weight: what `lb_members` holds, and four flags that the backend's
/// entry shows.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct MemberFlags(u32);

impl MemberFlags {
    /// Gets new connections: it has a slot.
    pub const ELIGIBLE: Self = Self(1);
    /// Keeps the connections that it has.
    pub const SERVING: Self = Self(2);
    /// Terminating and no longer ready.
    pub const TERMINATING: Self = Self(4);
    /// Runs on this node.
    pub const LOCAL: Self = Self(8);
    /// Its address is one of this machine's own.
    pub const OWN: Self = Self(16);
    /// Has left the Service, and keeps its connections for a while.
    pub const KEPT: Self = Self(32);
    /// In quarantine: no slot, though it is ready.
    pub const QUARANTINED: Self = Self(64);
    /// Topology hints do not prefer it: it gets the connections that leave those that they do.
    pub const OUTSIDE: Self = Self(128);

    /// Adds `other` if `on`.
    #[must_use]
    pub fn with(self, other: Self, on: bool) -> Self {
        if on { Self(self.0 | other.0) } else { self }
    }

    /// Takes `other` away.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// All of `other`?
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// As the backend's entry shows it, see [`lb_common::backend::state`].
    #[must_use]
    pub fn entry_state(self) -> u8 {
        if self.has(Self::QUARANTINED) {
            state::QUARANTINED
        } else if self.has(Self::TERMINATING) {
            state::TERMINATING
        } else {
            state::ACTIVE
        }
    }

    /// New to its Service, with so many of [`PARTS`] of its weight, fewer than all: no matter of the
    /// maps' members, only of slots.
    #[must_use]
    pub fn starting(self, parts: u8) -> Self {
        Self(self.0 & !STARTING | u32::from(parts) << STARTING_SHIFT)
    }

    /// The parts of its weight that it has.
    #[must_use]
    pub fn parts(self) -> u8 {
        let [_, low, ..] = (self.0 & STARTING).to_le_bytes();
        match low {
            0 => PARTS,
            parts => parts,
        }
    }

    /// With this weight, which is not 0: who weighs nothing is not eligible.
    #[must_use]
    pub fn weighing(self, weight: u16) -> Self {
        let flags = self.0 & !member::weight_bits(u16::MAX);
        Self(flags | member::weight_bits(weight))
    }

    /// Its weight among the members of its pool.
    #[must_use]
    pub fn weight(self) -> u16 {
        member::weight(self.0)
    }

    /// The value in `lb_members`.
    #[must_use]
    pub fn member_flags(self) -> u32 {
        let weight = member::weight_bits(u16::MAX);
        let flags = member::ELIGIBLE | member::SERVING | member::KEPT | member::OUTSIDE;
        self.0 & (flags | weight)
    }

    /// From the value in `lb_members`.
    #[must_use]
    pub fn from_member_flags(flags: u32) -> Self {
        Self::default()
            .with(Self::ELIGIBLE, flags & member::ELIGIBLE != 0)
            .with(Self::SERVING, flags & member::SERVING != 0)
            .with(Self::KEPT, flags & member::KEPT != 0)
            .with(Self::OUTSIDE, flags & member::OUTSIDE != 0)
            .weighing(member::weight(flags))
    }
}

/// Where the parts of a new member stand; 0 in one that is not new.
const STARTING: u32 = 0xf << STARTING_SHIFT;
const STARTING_SHIFT: u32 = 8;

const _: () = assert!(
    MemberFlags::ELIGIBLE.0 == member::ELIGIBLE
        && MemberFlags::SERVING.0 == member::SERVING
        && MemberFlags::KEPT.0 == member::KEPT
        && MemberFlags::OUTSIDE.0 == member::OUTSIDE
);

impl fmt::Debug for MemberFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::ELIGIBLE, 'E'),
            (Self::SERVING, 'S'),
            (Self::TERMINATING, 'T'),
            (Self::LOCAL, 'L'),
            (Self::OWN, 'O'),
            (Self::KEPT, 'K'),
            (Self::QUARANTINED, 'Q'),
            (Self::OUTSIDE, 'X'),
        ];
        names
            .iter()
            .filter(|(bit, _)| self.has(*bit))
            .try_for_each(|(_, c)| write!(f, "{c}"))?;
        match self.weight() {
            member::WEIGHT => {}
            weight => write!(f, "{weight}")?,
        }
        match self.parts() {
            PARTS => Ok(()),
            parts => write!(f, "*{parts}/{PARTS}"),
        }
    }
}

/// Key of a frontend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FrontendKey {
    /// In `lb_frontends`.
    Address(VipKey),
    /// In `lb_nodeports`.
    NodePort(NodePortKey),
}

/// An address and port, or a node port, that clients use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frontend {
    /// What a client names.
    pub key: FrontendKey,
    /// Index into [`ServicePlan::pools`]; `None` for the mark of a VIP.
    pub pool: Option<usize>,
    /// For the mark of a VIP: the pool whose endpoints decide whether the address answers ping.
    pub ping_pool: Option<usize>,
    /// See [`lb_common::frontend`].
    pub flags: u32,
}
