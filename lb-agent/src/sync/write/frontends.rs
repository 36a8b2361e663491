//! Writes of frontends: what leads to pools. Owns the rule that between a write that frees an element of a hash map and the
//! next one that takes one stands a barrier, since the kernel recycles the element at once, under readers that look at it.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use lb_common::{
    Addr, Proto,
    frontend::{FrontendValue, NodeAddr, NodePortKey, VipKey},
};

use crate::{
    maps::{
        Maps,
        table::{Batch, HashTable, MapError},
    },
    model::ObjectKey,
};

use super::batch;
use crate::sync::{
    mirror::{
        frontends::{Fronts, Step},
        pool::PoolState,
        state::State,
    },
    report::{Report, Writes, fail},
};

/// A map's frontends, and the pools that they lead to.
type Mirror<'a, K> = (&'a mut Fronts<K>, &'a HashMap<u32, PoolState>);

/// One of the two maps of frontends: its mirror, its table and its counter.
pub(in crate::sync) struct Side<K: 'static> {
    mirror: fn(&mut State) -> Mirror<'_, K>,
    table: for<'a> fn(&'a mut Maps) -> &'a mut dyn HashTable<K, FrontendValue>,
    writes: fn(&mut Writes) -> &mut u64,
    /// IANA number.
    proto: fn(&K) -> u8,
}

/// `lb_frontends`
pub(in crate::sync) const SERVICES: Side<VipKey> = Side {
    mirror: |state| (&mut state.services, &state.pools),
    table: |maps| &mut *maps.frontends,
    writes: |writes| &mut writes.services,
    proto: |key| key.proto,
};

/// `lb_nodeports`
pub(in crate::sync) const NODEPORTS: Side<NodePortKey> = Side {
    mirror: |state| (&mut state.nodeports, &state.pools),
    table: |maps| &mut *maps.nodeports,
    writes: |writes| &mut writes.nodeports,
    proto: |key| key.proto,
};

/// Brings one map of frontends up to date. What fails stays dirty.
pub(in crate::sync) fn publish<K: Copy + Ord + Hash>(
    side: &Side<K>,
    state: &mut State,
    maps: &mut Maps,
    report: &mut Report,
    changed: &mut BTreeSet<ObjectKey>,
) {
    let (mirror, pools) = (side.mirror)(state);
    let steps = mirror.steps(|index| pools.get(&index).is_some_and(PoolState::live));
    let (mut inserts, mut replaces, mut removes) = (Vec::new(), Vec::new(), Vec::new());
    for (key, step) in steps {
        match step {
            Step::Insert(value, who) => inserts.push(((key, value), who)),
            Step::Replace(value, who) => replaces.push(((key, value), who)),
            Step::Remove => removes.push(key),
        }
    }

    // A replaced entry is never absent: readers find the old one or the new one. Each frees an element, so each waits.
    for (entry, who) in replaces {
        let result = side.ready(state, maps, report).and_then(|()| {
            match (side.table)(maps).insert(&[entry]).error {
                None => Ok(()),
                Some(error) => Err(error),
            }
        });
        (side.mirror)(state).0.freed = true;
        side.note(state, entry.0, Some(entry.1), result, Some(&who), report);
        changed.insert(who);
    }

    if !inserts.is_empty()
        && let Err(error) = side.ready(state, maps, report)
    {
        fail(report, None, error);
        return;
    }
    let table = (side.table)(maps);
    let mut results = Vec::with_capacity(inserts.len());
    batch::run(
        &inserts,
        |items| {
            let entries: Vec<(K, FrontendValue)> = items.iter().map(|(entry, _)| *entry).collect();
            table.insert(&entries)
        },
        |item, result| results.push((item.clone(), result)),
        |_| false,
    );
    for ((entry, who), result) in results {
        side.note(state, entry.0, Some(entry.1), result, Some(&who), report);
        changed.insert(who);
    }

    let mut results = Vec::with_capacity(removes.len());
    batch::run(
        &removes,
        |keys| table.remove(keys),
        |key, result| results.push((*key, result)),
        |_| false,
    );
    for (key, result) in results {
        (side.mirror)(state).0.freed = true;
        report.freed |= result.is_ok();
        side.note(state, key, None, result, None, report);
    }
}

impl<K: Copy + Ord + Hash> Side<K> {
    /// No element is free that a reader may still look at.
    fn ready(
        &self,
        state: &mut State,
        maps: &mut Maps,
        report: &mut Report,
    ) -> Result<(), MapError> {
        if (self.mirror)(state).0.freed {
            state.barrier(maps, report)?;
        }
        Ok(())
    }

    fn note(
        &self,
        state: &mut State,
        key: K,
        value: Option<FrontendValue>,
        result: Result<(), MapError>,
        who: Option<&ObjectKey>,
        report: &mut Report,
    ) {
        match result {
            Ok(()) => {
                let before = (self.mirror)(state).0.set_written(key, value);
                let is_udp = (self.proto)(&key) == Proto::Udp.number();
                state.led(is_udp, before, value);
                *(self.writes)(&mut report.writes) += 1;
            }
            Err(error) => fail(report, who.cloned(), error),
        }
    }
}

/// Brings `lb_nodeaddrs` up to date; false if something failed.
pub(in crate::sync) fn addresses(
    wanted: &[(std::net::IpAddr, u32)],
    state: &mut State,
    maps: &mut Maps,
    report: &mut Report,
) -> bool {
    let value = |ifindex| NodeAddr { ifindex, flags: 0 };
    let mut rest = state.nodeaddrs.clone();
    let mut fresh: Vec<(Addr, NodeAddr)> = Vec::new();
    let mut moved: Vec<(Addr, NodeAddr)> = Vec::new();
    for (ip, ifindex) in wanted {
        let (addr, value) = (Addr::from(*ip), value(*ifindex));
        match rest.remove(&addr) {
            Some(stands) if stands == value => {}
            Some(_) => moved.push((addr, value)),
            None if fresh.iter().any(|(a, _)| *a == addr) => {}
            None if state.nodeaddrs.contains_key(&addr) => {}
            None => fresh.push((addr, value)),
        }
    }
    let runs = moved.chunks(1).chain(fresh.chunks(fresh.len().max(1)));
    let mut good = true;
    for run in runs {
        if state.nodeaddrs_freed
            && let Err(error) = state.barrier(maps, report)
        {
            fail(report, None, error);
            good = false;
            break;
        }
        state.nodeaddrs_freed |= run.iter().any(|(a, _)| state.nodeaddrs.contains_key(a));
        let Batch { done, error } = maps.nodeaddrs.insert(run);
        state.nodeaddrs.extend(run[..done].iter().copied());
        report.writes.nodeaddrs += done as u64;
        if let Some(error) = error {
            fail(report, None, error);
            good = false;
            break;
        }
    }
    // Also behind a failure: in a full map this is what makes room.
    let gone: Vec<Addr> = rest.into_keys().collect();
    if gone.is_empty() {
        return good;
    }
    state.nodeaddrs_freed = true;
    let Batch { done, error } = maps.nodeaddrs.remove(&gone);
    for addr in &gone[..done] {
        state.nodeaddrs.remove(addr);
    }
    report.freed |= done > 0;
    report.writes.nodeaddrs += done as u64;
    if let Some(error) = error {
        fail(report, None, error);
        good = false;
    }
    good
}
