//! The backends of Services with passive health: whose handshakes are to be looked at.

use std::net::{IpAddr, SocketAddr};

use lb_common::pool::flags;

use super::Engine;
use crate::{
    model::ObjectKey,
    plan::{ServicePlan, desired::MemberFlags},
};

/// A backend of a Service with passive health.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Watched {
    /// Whose.
    pub service: ObjectKey,
    /// Where it listens.
    pub at: SocketAddr,
    /// Its id in the maps.
    pub id: u32,
}

impl Engine {
    /// All of them, sorted.
    #[must_use]
    pub fn watched(&self) -> Vec<Watched> {
        let services = self.watching.iter();
        let pools = services.filter_map(|key| Some((key, self.planned.get(key)?)));
        let pools = pools.flat_map(|(key, p)| p.pools.iter().map(move |(_, index)| (key, index)));
        let pools = pools.filter_map(|(key, index)| Some((key, self.mirror.pool(*index)?)));
        let pools = pools.filter(|(_, pool)| pool.entry().flags & flags::WATCHED != 0);
        let members = pools.flat_map(|(key, pool)| pool.members().iter().map(move |m| (key, m)));
        let serving = members.filter(|(_, (_, flags))| flags.has(MemberFlags::SERVING));
        let found = serving.filter_map(|(service, (id, _))| {
            let key = self.mirror.backends().key(*id)?;
            Some(Watched {
                service: service.clone(),
                at: SocketAddr::new(IpAddr::from(key.addr), key.port),
                id: *id,
            })
        });
        let mut all: Vec<Watched> = found.collect();
        all.sort();
        all.dedup();
        all
    }

    pub(super) fn watch(&mut self, service: &ObjectKey, plan: &ServicePlan) {
        if plan.pools.iter().any(|p| p.flags & flags::WATCHED != 0) {
            self.watching.insert(service.clone());
        } else {
            self.watching.remove(service);
        }
    }
}
