//! The audit: what stands in the maps against the mirror, map by map, and back to the mirror where they differ. Owns the
//! order of its parts, which is that of writing: what leads somewhere is repaired after what it leads to.
//!
//! The agent is the only writer of these maps, so a difference is the work of somebody else, or of a bug.

use std::{collections::HashMap, fmt::Debug, hash::Hash};

use lb_common::{
    backend::Backend,
    maps,
    service::{MemberKey, Service, ServiceRef, Slot},
};

use crate::datapath::table::{ArrayTable, Batch, HashTable, MapError, Maps, SourceRangeKey};

use super::{
    batch,
    engine::Engine,
    fronts::Fronts,
    publish::fail,
    report::{Report, Writes},
    state::State,
};

/// Differences that an audit describes.
const EXAMPLES: usize = 5;
/// Overwritten frontends that one audit repairs, with a barrier (8 ms) between two of them; the next one does the rest.
const REPLACED: usize = 32;

/// One map, audited in one go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// `lb_backends`
    Backends,
    /// `lb_srcranges`
    SourceRanges,
    /// `lb_members`
    Members,
    /// `lb_slots`, as far as services have them.
    Slots,
    /// `lb_svc`
    Svc,
    /// `lb_services`
    Services,
    /// `lb_nodeports`
    NodePorts,
    /// `lb_nodeaddrs`
    NodeAddresses,
}

/// What an audit of one map found and did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// Entries that differed.
    pub drift: u64,
    /// Some of them, in words.
    pub examples: Vec<String>,
    /// What was written, and what failed.
    pub report: Report,
}

impl Part {
    /// In the order of an audit.
    pub const ALL: [Self; 8] = [
        Self::Backends,
        Self::SourceRanges,
        Self::Members,
        Self::Slots,
        Self::Svc,
        Self::Services,
        Self::NodePorts,
        Self::NodeAddresses,
    ];

    /// Name of the map.
    #[must_use]
    pub fn map(self) -> &'static str {
        let spec = match self {
            Self::Backends => maps::BACKENDS,
            Self::SourceRanges => maps::SRCRANGES,
            Self::Members => maps::MEMBERS,
            Self::Slots => maps::SLOTS,
            Self::Svc => maps::SVC,
            Self::Services => maps::SERVICES,
            Self::NodePorts => maps::NODEPORTS,
            Self::NodeAddresses => maps::NODEADDRS,
        };
        spec.name
    }
}

impl Engine {
    /// Compares one map with what the agent has written there, and repairs it.
    #[must_use = "it tells what was found"]
    pub fn audit(&mut self, part: Part, maps: &mut dyn Maps) -> Audit {
        let mut audit = Audit::default();
        let done = match part {
            Part::Backends => backends(&self.state, maps, &mut audit),
            Part::SourceRanges => source_ranges(&self.state, maps, &mut audit),
            Part::Members => members(&self.state, maps, &mut audit),
            Part::Slots => slots(&self.state, maps, &mut audit),
            Part::Svc => svc(&self.state, maps, &mut audit),
            Part::Services => {
                let wanted = standing(&self.state.services);
                let led = Led {
                    table: |maps| maps.services(),
                    freed: |state| &mut state.services.freed,
                    writes: |writes| &mut writes.services,
                };
                led.repair(wanted, &mut self.state, maps, &mut audit)
            }
            Part::NodePorts => {
                let wanted = standing(&self.state.nodeports);
                let led = Led {
                    table: |maps| maps.nodeports(),
                    freed: |state| &mut state.nodeports.freed,
                    writes: |writes| &mut writes.nodeports,
                };
                led.repair(wanted, &mut self.state, maps, &mut audit)
            }
            Part::NodeAddresses => {
                let wanted = self.state.nodeaddrs.clone();
                let led = Led {
                    table: |maps| maps.nodeaddrs(),
                    freed: |state| &mut state.nodeaddrs_freed,
                    writes: |writes| &mut writes.nodeaddrs,
                };
                led.repair(wanted, &mut self.state, maps, &mut audit)
            }
        };
        if let Err(error) = done {
            fail(&mut audit.report, None, error);
        }
        audit
    }
}

impl Audit {
    fn found(&mut self, what: impl FnOnce() -> String) {
        self.drift += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(what());
        }
    }
}

fn backends(state: &State, maps: &mut dyn Maps, audit: &mut Audit) -> Result<(), MapError> {
    let table = maps.backends();
    for id in 1..table.len() {
        let wanted = state.backends.standing(id).unwrap_or(Backend::FREE);
        audit.report.writes.backends += u64::from(element(table, id, &wanted, audit)?);
    }
    Ok(())
}

fn svc(state: &State, maps: &mut dyn Maps, audit: &mut Audit) -> Result<(), MapError> {
    let table = maps.svc();
    let retired = state.indices.retired();
    for index in 1..table.len() {
        let wanted = match state.pools.get(&index) {
            Some(pool) => pool.svc,
            // Cleared behind the next barrier.
            None if retired.contains(&index) => continue,
            None => Service::EMPTY,
        };
        audit.report.writes.svc += u64::from(element(table, index, &wanted, audit)?);
    }
    Ok(())
}

fn slots(state: &State, maps: &mut dyn Maps, audit: &mut Audit) -> Result<(), MapError> {
    let table = maps.slots();
    for (&service, pool) in &state.pools {
        let Some(range) = pool.range else { continue };
        for (at, &backend) in (range.base..).zip(&pool.slots) {
            let wanted = Slot { backend, service };
            audit.report.writes.slots += u64::from(element(table, at, &wanted, audit)?);
        }
    }
    Ok(())
}

/// True if it had to be written.
fn element<T: PartialEq + Debug>(
    table: &mut dyn ArrayTable<T>,
    index: u32,
    wanted: &T,
    audit: &mut Audit,
) -> Result<bool, MapError> {
    let stands = table.load(index)?;
    if stands == *wanted {
        return Ok(false);
    }
    audit.found(|| format!("element {index} was {stands:?} instead of {wanted:?}"));
    table.store(index, wanted)?;
    Ok(true)
}

fn members(state: &State, maps: &mut dyn Maps, audit: &mut Audit) -> Result<(), MapError> {
    let mut wanted = HashMap::with_capacity(state.members as usize);
    for (&service, pool) in &state.pools {
        let all = pool.members.iter();
        wanted.extend(all.map(|(&backend, bits)| {
            let key = MemberKey { service, backend };
            (key, bits.member_flags())
        }));
    }
    let drift = Drift::of(maps.members().entries()?, wanted, audit);
    let n = drift.write(maps.members(), &mut audit.report);
    audit.report.writes.members += n;
    Ok(())
}

fn source_ranges(state: &State, maps: &mut dyn Maps, audit: &mut Audit) -> Result<(), MapError> {
    let pools = state.pools.values();
    let wanted: HashMap<SourceRangeKey, u8> = pools
        .flat_map(|pool| pool.source_ranges.iter().map(|key| (*key, 1)))
        .collect();
    let drift = Drift::of(maps.srcranges().entries()?, wanted, audit);
    let n = drift.write(maps.srcranges(), &mut audit.report);
    audit.report.writes.srcranges += n;
    Ok(())
}

fn standing<K: Copy + Ord + Hash>(fronts: &Fronts<K>) -> HashMap<K, ServiceRef> {
    fronts.standing().collect()
}

/// How the entries of a hash map differ from what they should be.
struct Drift<K, V> {
    missing: Vec<(K, V)>,
    changed: Vec<(K, V)>,
    foreign: Vec<K>,
}

impl<K: Copy + Ord + Hash + Debug, V: Copy + PartialEq + Debug> Drift<K, V> {
    fn of(stands: Vec<(K, V)>, mut wanted: HashMap<K, V>, audit: &mut Audit) -> Self {
        let (mut changed, mut foreign) = (Vec::new(), Vec::new());
        for (key, value) in stands {
            match wanted.remove(&key) {
                Some(right) if right == value => {}
                Some(right) => {
                    audit.found(|| format!("{key:?} was {value:?} instead of {right:?}"));
                    changed.push((key, right));
                }
                None => {
                    audit.found(|| format!("{key:?} is not ours, with {value:?}"));
                    foreign.push(key);
                }
            }
        }
        let mut missing: Vec<(K, V)> = wanted.into_iter().collect();
        missing.sort_unstable_by_key(|(key, _)| *key);
        for (key, value) in &missing {
            audit.found(|| format!("{key:?} was gone, with {value:?}"));
        }
        Self {
            missing,
            changed,
            foreign,
        }
    }

    /// For maps whose elements may be recycled at once; how many were written.
    fn write(self, table: &mut dyn HashTable<K, V>, report: &mut Report) -> u64 {
        let Self {
            missing,
            changed,
            foreign,
        } = self;
        let put = [missing, changed].concat();
        insert(table, &put, report) + remove(table, &foreign, report)
    }
}

fn insert<K: Copy, V: Copy>(
    table: &mut dyn HashTable<K, V>,
    entries: &[(K, V)],
    report: &mut Report,
) -> u64 {
    run(entries, |entries| table.insert(entries), report)
}

fn remove<K: Copy, V>(table: &mut dyn HashTable<K, V>, keys: &[K], report: &mut Report) -> u64 {
    run(keys, |keys| table.remove(keys), report)
}

fn run<T>(items: &[T], write: impl FnMut(&[T]) -> Batch, report: &mut Report) -> u64 {
    let mut done = 0;
    let mut errors = Vec::new();
    batch::run(
        items,
        write,
        |_, result| match result {
            Ok(()) => done += 1,
            Err(error) => errors.push(error),
        },
        |_| false,
    );
    for error in errors {
        fail(report, None, error);
    }
    done
}

/// A map whose elements lead readers somewhere: between one that was freed and the next that is taken stands a barrier.
struct Led<K: 'static, V: 'static> {
    table: for<'a> fn(&'a mut dyn Maps) -> &'a mut dyn HashTable<K, V>,
    freed: fn(&mut State) -> &mut bool,
    writes: fn(&mut Writes) -> &mut u64,
}

impl<K: Copy + Ord + Hash + Debug, V: Copy + PartialEq + Debug> Led<K, V> {
    fn repair(
        &self,
        wanted: HashMap<K, V>,
        state: &mut State,
        maps: &mut dyn Maps,
        audit: &mut Audit,
    ) -> Result<(), MapError> {
        let stands = (self.table)(maps).entries()?;
        let Drift {
            missing,
            changed,
            foreign,
        } = Drift::of(stands, wanted, audit);
        if missing.is_empty() && changed.is_empty() && foreign.is_empty() {
            return Ok(());
        }
        let report = &mut audit.report;
        // Whoever took an element away or overwrote one has waited for nobody.
        *(self.freed)(state) = true;
        let mut written = 0;
        for one in changed.into_iter().take(REPLACED) {
            state.barrier(maps, report)?;
            written += insert((self.table)(maps), &[one], report);
            *(self.freed)(state) = true;
        }
        if !missing.is_empty() {
            state.barrier(maps, report)?;
            written += insert((self.table)(maps), &missing, report);
        }
        if !foreign.is_empty() {
            written += remove((self.table)(maps), &foreign, report);
            *(self.freed)(state) = true;
        }
        *(self.writes)(&mut report.writes) += written;
        Ok(())
    }
}
