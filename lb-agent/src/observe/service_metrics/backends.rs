//! The backends of Service ports: which they are, where they run, and how many connections are open
//! to them.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use lb_common::{load::open, maps};

use crate::{
    maps::{
        dir::BpfDir,
        pinned::{Access, ArrayPin},
        table::{ArrayTable as _, MapError},
    },
    model::ObjectKey,
    plan::MemberFlags,
    sync::Engine,
};

/// The backends of a Service port, by their ids.
pub(super) type Backends = BTreeMap<u32, Backend>;

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Backend {
    /// `topology.kubernetes.io/zone` of its node.
    pub(super) zone: Option<Arc<str>>,
    pub(super) state: State,
}

/// What a backend gets; of one that several pools have, the first of these that it is to any.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum State {
    Ready,
    Spill,
    Terminating,
    Quarantined,
    Draining,
}

impl State {
    /// As `get backends` calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Spill => "spill",
            Self::Terminating => "terminating",
            Self::Quarantined => "quarantined",
            Self::Draining => "draining",
        }
    }

    fn of(flags: MemberFlags) -> Self {
        if flags.has(MemberFlags::QUARANTINED) {
            Self::Quarantined
        } else if !flags.has(MemberFlags::ELIGIBLE) {
            Self::Draining
        } else if flags.has(MemberFlags::TERMINATING) {
            Self::Terminating
        } else if flags.has(MemberFlags::OUTSIDE) {
            Self::Spill
        } else {
            Self::Ready
        }
    }
}

/// Where the endpoints of a Service run.
pub(super) fn zones<'a>(engine: &'a Engine, key: &ObjectKey) -> HashMap<IpAddr, &'a Arc<str>> {
    let endpoints = engine.cluster().slices(key).iter();
    let endpoints = endpoints.flat_map(|slice| &slice.endpoints);
    endpoints
        .filter_map(|endpoint| Some((endpoint.addr, endpoint.zone.as_ref()?)))
        .collect()
}

/// Adds the backends of a pool to those of its port.
pub(super) fn add(
    all: &mut Backends,
    engine: &Engine,
    pool: u32,
    zones: &HashMap<IpAddr, &Arc<str>>,
) {
    for (id, addr, flags) in engine.members(pool) {
        let state = State::of(flags);
        let known = all.entry(id).or_insert_with(|| Backend {
            zone: zones.get(&addr).map(|zone| Arc::clone(zone)),
            state,
        });
        known.state = known.state.min(state);
    }
}

/// How many backends there are, each counted once, by the names of zone and state.
pub(super) fn by_zone<'a>(
    all: impl Iterator<Item = &'a Backends>,
) -> BTreeMap<(&'a str, &'static str), i64> {
    let mut each: HashMap<u32, (&str, State)> = HashMap::new();
    for (id, Backend { zone, state }) in all.flatten() {
        let zone = zone.as_deref().unwrap_or("");
        let known = each.entry(*id).or_insert((zone, *state));
        known.1 = known.1.min(*state);
    }
    let mut sums = BTreeMap::new();
    for (zone, state) in each.into_values() {
        *sums.entry((zone, state.name())).or_default() += 1;
    }
    sums
}

/// How many connections are open to backends.
pub(super) struct Open {
    sockets: ArrayPin<u64>,
    flows: ArrayPin<u64>,
}

impl Open {
    pub(super) fn read(dir: &BpfDir) -> Result<Self, MapError> {
        Ok(Self {
            sockets: ArrayPin::open(dir, maps::ACTIVE, Access::Read)?,
            flows: ArrayPin::open(dir, maps::FLOW_COUNTS, Access::Read)?,
        })
    }

    /// To one of them; 0 where a map has no place for it.
    pub(super) fn to(&self, backend: u32) -> u64 {
        let word = |map: &ArrayPin<u64>| map.load(backend).unwrap_or(0);
        open(word(&self.sockets), word(&self.flows))
    }
}
