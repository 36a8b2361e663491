//! The backends of Service ports: which they are, where they run, and how many connections are open
//! to them.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use lb_common::{load::open, maps};

use super::{
    ports::Pool,
    zones::{Zone, Zones},
};
use crate::{
    maps::{
        dir::BpfDir,
        pinned::{Access, ArrayPin},
        table::{ArrayTable as _, MapError},
    },
    model::{BackendState, Eligibility, ObjectKey},
    plan::MemberFlags,
    sync::Engine,
};

/// A backend of a Service port. Sorted by id; of one id, what gives the most is the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Backend {
    pub(super) id: u32,
    pub(super) state: BackendState,
    /// Of its node.
    pub(super) zone: Zone,
}

/// There are hundreds of thousands of them in a large cluster.
const _: () = assert!(size_of::<Backend>() == 8);

fn state(flags: MemberFlags) -> BackendState {
    let eligibility = if !flags.has(MemberFlags::ELIGIBLE) {
        Eligibility::Draining
    } else if flags.has(MemberFlags::OUTSIDE) {
        Eligibility::Outside
    } else {
        Eligibility::Eligible
    };
    BackendState::of(flags.entry_state(), eligibility)
}

/// Collects the backends of port after port, in the same memory.
#[derive(Default)]
pub(super) struct Collected {
    /// Where the endpoints of the Service run, sorted, each address once.
    zones: Vec<(IpAddr, Zone)>,
    backends: Vec<Backend>,
}

impl Collected {
    /// What comes next are ports of this Service.
    pub(super) fn begin(&mut self, engine: &Engine, key: &ObjectKey, zones: &mut Zones) {
        let endpoints = engine.cluster().slices(key).iter();
        let endpoints = endpoints.flat_map(|slice| &slice.endpoints);
        self.zones.clear();
        self.zones
            .extend(endpoints.filter_map(|e| Some((e.addr, zones.zone(e.zone.as_ref()?)))));
        self.zones.sort_unstable();
        self.zones.dedup_by_key(|(addr, _)| *addr);
    }

    /// The backends of the pools of a port, sorted, each once.
    pub(super) fn port(&mut self, engine: &Engine, pools: &[Pool]) -> &[Backend] {
        let Self { zones, backends } = self;
        backends.clear();
        let members = pools.iter().flat_map(|pool| engine.members(pool.index));
        backends.extend(members.map(|(id, addr, flags)| {
            Backend {
                id,
                state: state(flags),
                zone: zones
                    .binary_search_by_key(&addr, |(addr, _)| *addr)
                    .map_or(Zone::NONE, |at| zones[at].1),
            }
        }));
        backends.sort_unstable();
        backends.dedup_by_key(|backend| backend.id);
        backends
    }
}

/// How many backends there are, each counted once, by the names of zone and state. Several ports
/// may have the same; where one knows no zone, another may.
pub(super) fn by_zone(
    mut all: Vec<Backend>,
    names: &[Arc<str>],
) -> BTreeMap<(&str, &'static str), i64> {
    all.sort_unstable();
    let mut sums = BTreeMap::new();
    for same in all.chunk_by(|a, b| a.id == b.id) {
        let zone = same.iter().map(|backend| backend.zone).min();
        let zone = zone.unwrap_or(Zone::NONE).name(names);
        *sums.entry((zone, same[0].state.name())).or_default() += 1;
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
