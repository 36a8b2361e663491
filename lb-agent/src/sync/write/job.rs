//! A pool on its way into the maps: which backends it needs, and how it differs from what the maps
//! hold.

use std::collections::BTreeSet;

use lb_common::{backend::Backend, flow::units};

use super::{
    diff::{PoolDiff, diff},
    reuse::barrier,
};
use crate::{
    flows::clock::monotonic,
    maps::{Maps, Table, table::MapError},
    model::ObjectKey,
    plan::{Pool, desired::MemberFlags},
    sync::{
        mirror::{BackendKey, Mirror, Pin},
        report::Report,
    },
};

/// One pool whose entries differ from its plan.
pub(crate) struct Job {
    /// Whose pool it is.
    pub(crate) service: ObjectKey,
    /// Pool index.
    pub(super) index: u32,
    pub(super) diff: PoolDiff,
    /// Backends whose entry has to be written first.
    pub(super) created: Vec<(u32, Backend)>,
    /// Backends held for memberships to come.
    pinned: BTreeSet<u32>,
    /// The first failure; nothing of this job is written behind it.
    pub(super) error: Option<MapError>,
}

impl Job {
    /// Finds or makes ids for the pool's backends, and compares. `None` if nothing has to be
    /// written.
    pub(crate) fn new(
        service: &ObjectKey,
        pool: &Pool,
        index: u32,
        mirror: &mut Mirror,
        maps: &mut Maps,
        report: &mut Report,
    ) -> Option<Self> {
        let mut job = Self {
            service: service.clone(),
            index,
            diff: PoolDiff::default(),
            created: Vec::new(),
            pinned: BTreeSet::new(),
            error: None,
        };
        let mut members = Vec::with_capacity(pool.members.len());
        for member in &pool.members {
            let key = BackendKey {
                addr: member.addr,
                port: member.port,
                proto: pool.id.proto.number(),
            };
            match job.resolve(key, member.flags, mirror, maps, report) {
                Ok(id) => members.push((id, member.flags)),
                Err(error) => {
                    job.error = Some(error);
                    return Some(job);
                }
            }
        }
        let now = units(monotonic());
        job.diff = diff(pool, index, &members, mirror.pool(index)?, now);
        (job.diff != PoolDiff::default()).then_some(job)
    }

    fn resolve(
        &mut self,
        key: BackendKey,
        flags: MemberFlags,
        mirror: &mut Mirror,
        maps: &mut Maps,
        report: &mut Report,
    ) -> Result<u32, MapError> {
        if let Some(id) = mirror.backends().find(&key) {
            let pool = mirror.pool(self.index);
            let is_member = pool.is_some_and(|p| p.members().contains_key(&id));
            if !is_member && self.pinned.insert(id) {
                mirror.pin_backend(id);
            }
            if let Some(value) = mirror.backends().unwritten(id) {
                self.created.push((id, value));
            }
            return Ok(id);
        }
        let mut made = mirror.create_backend(key, flags);
        if made.is_none() && !mirror.backends().retired().is_empty() {
            barrier(mirror, maps, report)?;
            made = mirror.create_backend(key, flags);
        }
        let (id, value) = made.ok_or(MapError::Full {
            map: Table::Backends.name(),
            capacity: mirror.capacity()[Table::Backends],
        })?;
        self.pinned.insert(id);
        self.created.push((id, value));
        Ok(id)
    }

    /// The map holds the membership, new or changed.
    pub(super) fn member_written(&mut self, id: u32, flags: MemberFlags, mirror: &mut Mirror) {
        let Some(pool) = mirror.pool(self.index) else {
            return;
        };
        // A pin is for a new membership, and becomes its own.
        let is_new = !pool.members().contains_key(&id);
        let pin = if is_new && self.pinned.remove(&id) {
            Pin::Held
        } else {
            Pin::New
        };
        mirror.insert_member(self.index, id, flags, pin);
    }

    /// Lets go of the backends that no membership came about for.
    pub(super) fn unpin(&mut self, mirror: &mut Mirror) {
        for id in std::mem::take(&mut self.pinned) {
            mirror.unpin_backend(id);
        }
    }
}
