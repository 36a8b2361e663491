//! What a planned Service takes: an index for each of its pools, and a claim on each of its frontends. Owns which index of
//! those that stand in the maps is recognised as a Service's own.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    maps::{Maps, table::MapError},
    model::{ObjectKey, Service},
    plan::{FrontKey, PoolId, ServicePlan},
};

use super::Engine;
use crate::sync::{
    mirror::{
        frontends::{Claim, Claimant},
        pool::PoolState,
        state::State,
    },
    report::Report,
};

impl Engine {
    /// A service index for each pool of the plan: the one it has; else the one that its frontends lead to, if that is left
    /// over from a pool of this Service that is no more (a port that was renamed, a policy that was changed), or from a
    /// previous agent and everything that leads there is this Service's today; else a free one.
    pub(in crate::sync) fn indices(
        &mut self,
        service: &ObjectKey,
        plan: &ServicePlan,
        maps: &mut Maps,
        report: &mut Report,
    ) -> Result<Vec<u32>, MapError> {
        let old = self.planned.get(service).map_or(&[][..], |p| &p.pools);
        let had = |id: &PoolId| old.iter().find(|(known, _)| known == id).map(|(_, i)| *i);
        let mut taken: BTreeSet<u32> = plan.pools.iter().filter_map(|p| had(&p.id)).collect();
        let written: Vec<Option<u32>> = plan
            .frontends
            .iter()
            .filter(|f| f.pool.is_some())
            .map(|f| self.written(&f.key))
            .collect();
        let leading = |index| {
            let count = written.iter().filter(|w| **w == Some(index)).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        let mut found = Vec::with_capacity(plan.pools.len());
        for (n, pool) in plan.pools.iter().enumerate() {
            let mut index = had(&pool.id);
            let fronts = plan.frontends.iter().filter(|f| f.pool == Some(n));
            for led in fronts.filter_map(|f| self.written(&f.key)) {
                let ours = || old.iter().any(|(_, i)| *i == led);
                let left = |p: &PoolState| ours() || !p.owned && p.fronts == leading(led);
                if index.is_none()
                    && self.state.pools.get(&led).is_some_and(left)
                    && taken.insert(led)
                {
                    index = Some(led);
                }
            }
            found.push(index);
        }
        let gone: Vec<u32> = old.iter().map(|(_, i)| *i).collect();
        let missing = found.iter().filter(|index| index.is_none()).count();
        let fresh = self.state.take_indices(missing, maps, report)?;
        let mut fresh = fresh.into_iter();
        let indices: Vec<u32> = found
            .into_iter()
            .filter_map(|index| index.or_else(|| fresh.next()))
            .collect();
        for index in &indices {
            let pool = self.state.pools.entry(*index);
            pool.or_insert_with(PoolState::new).owned = true;
            self.state.condemned.remove(index);
        }
        let unused = gone.into_iter().filter(|i| !indices.contains(i));
        self.state.condemned.extend(unused);
        Ok(indices)
    }

    /// Claims the plan's frontends, and lets go of those that it no longer has.
    pub(in crate::sync) fn claim(
        &mut self,
        service: &Service,
        plan: &ServicePlan,
        indices: &[u32],
    ) {
        let keys: BTreeSet<FrontKey> = plan.frontends.iter().map(|f| f.key).collect();
        if let Some(old) = self.planned.get(&service.key) {
            let gone = old.fronts.iter().filter(|key| !keys.contains(key));
            for key in gone {
                self.state.release(key, &service.key);
            }
        }
        let by = Arc::new(Claimant {
            service: service.key.clone(),
            created: service.created,
        });
        for front in &plan.frontends {
            let claim = Claim {
                by: Arc::clone(&by),
                index: front.pool.and_then(|n| indices.get(n).copied()),
                asks: front.asks.and_then(|n| indices.get(n).copied()),
                flags: front.flags,
            };
            match front.key {
                FrontKey::Address(key) => self.state.services.claim(key, claim),
                FrontKey::NodePort(key) => self.state.nodeports.claim(key, claim),
            }
        }
    }
}

impl State {
    /// The Service no longer wants this frontend.
    pub(in crate::sync) fn release(&mut self, key: &FrontKey, service: &ObjectKey) {
        match key {
            FrontKey::Address(key) => self.services.release(*key, service),
            FrontKey::NodePort(key) => self.nodeports.release(*key, service),
        }
    }
}
