//! What a planned Service takes: an index for each of its pools, and its frontends. Decides which
//! index in the maps is recognised as a Service's own.

use std::{collections::BTreeSet, sync::Arc};

use super::Engine;
use crate::{
    maps::{Maps, table::MapError},
    model::{ObjectKey, Service},
    plan::{FrontendKey, PoolId, ServicePlan},
    sync::{
        mirror::{Owner, Ownership, PoolState},
        report::Report,
        write::take_indices,
    },
};

impl Engine {
    /// A pool index for each pool of the plan: the one it has; else the one that its frontends lead
    /// to, if a former pool of this Service had it (a port was renamed, a policy changed), or if a
    /// previous agent left it and all frontends that lead there are this Service's today; else a
    /// free one.
    pub(super) fn indices(
        &mut self,
        service: &ObjectKey,
        plan: &ServicePlan,
        maps: &mut Maps,
        report: &mut Report,
    ) -> Result<Vec<u32>, MapError> {
        let old = self.planned.get(service).map_or(&[][..], |p| &p.pools);
        let had = |id: &PoolId| old.iter().find(|(known, _)| known == id).map(|(_, i)| *i);
        let mut taken: BTreeSet<u32> = plan.pools.iter().filter_map(|p| had(&p.id)).collect();
        let targets: Vec<Option<u32>> = plan
            .frontends
            .iter()
            .filter(|f| f.pool.is_some())
            .map(|f| self.mirror.target(&f.key))
            .collect();
        let references = |index| {
            let count = targets.iter().filter(|t| **t == Some(index)).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        let mut found = Vec::with_capacity(plan.pools.len());
        for (n, pool) in plan.pools.iter().enumerate() {
            let mut index = had(&pool.id);
            let frontends = plan.frontends.iter().filter(|f| f.pool == Some(n));
            for target in frontends.filter_map(|f| self.mirror.target(&f.key)) {
                let ours = || old.iter().any(|(_, i)| *i == target);
                let left =
                    |p: &PoolState| ours() || !p.is_owned() && p.references() == references(target);
                if index.is_none()
                    && self.mirror.pool(target).is_some_and(left)
                    && taken.insert(target)
                {
                    index = Some(target);
                }
            }
            found.push(index);
        }
        let gone: Vec<u32> = old.iter().map(|(_, i)| *i).collect();
        let missing = found.iter().filter(|index| index.is_none()).count();
        let fresh = take_indices(missing, &mut self.mirror, maps, report)?;
        let mut fresh = fresh.into_iter();
        let indices: Vec<u32> = found
            .into_iter()
            .filter_map(|index| index.or_else(|| fresh.next()))
            .collect();
        for index in &indices {
            self.mirror.adopt(*index);
        }
        let unused: Vec<u32> = gone.into_iter().filter(|i| !indices.contains(i)).collect();
        for index in &unused {
            self.leavers.forget(*index);
        }
        self.mirror.abandon(unused);
        Ok(indices)
    }

    /// Takes the plan's frontends, and releases those that it no longer has.
    pub(super) fn own_frontends(&mut self, service: &Service, plan: &ServicePlan, indices: &[u32]) {
        let keys: BTreeSet<FrontendKey> = plan.frontends.iter().map(|f| f.key).collect();
        if let Some(old) = self.planned.get(&service.key) {
            let gone = old.frontends.iter().filter(|key| !keys.contains(key));
            for key in gone {
                self.mirror.release(key, &service.key);
            }
        }
        let owner = Arc::new(Owner {
            service: service.key.clone(),
            created: service.created,
        });
        for frontend in &plan.frontends {
            let pool = |n: Option<usize>| n.and_then(|n| indices.get(n).copied());
            let ownership = Ownership {
                owner: Arc::clone(&owner),
                index: pool(frontend.pool),
                ping_pool: pool(frontend.ping_pool),
                flags: frontend.flags,
            };
            self.mirror.own(frontend.key, ownership);
        }
    }
}
