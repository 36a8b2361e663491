//! Backends that have left a pool whose connections are to be reset: they stay members for a while,
//! so that connections of theirs go on, and that an endpoint which moves between slices loses none.
//! Never reads the clock: the caller brings the time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    model::ObjectKey,
    plan::{Member, Pool, desired::MemberFlags},
    sync::mirror::Mirror,
};

/// Since when, by pool index and backend id.
#[derive(Default)]
pub(super) struct Leavers {
    all: BTreeMap<(u32, u32), Leaver>,
}

struct Leaver {
    since: Instant,
    /// When it goes.
    until: Instant,
    /// That time has come.
    planned: bool,
    service: ObjectKey,
}

impl Leavers {
    /// The pool is no one's, or its connections are never reset.
    pub(super) fn forget(&mut self, index: u32) {
        let of_pool = self.all.range((index, 0)..=(index, u32::MAX));
        let keys: Vec<_> = of_pool.map(|(key, _)| *key).collect();
        for key in keys {
            self.all.remove(&key);
        }
    }

    /// Services of which a backend goes by now; each backend is named once.
    pub(super) fn gone(&mut self, now: Instant) -> impl Iterator<Item = ObjectKey> {
        let due = move |leaver: &&mut Leaver| leaver.until <= now && !leaver.planned;
        self.all.values_mut().filter(due).map(|leaver| {
            leaver.planned = true;
            leaver.service.clone()
        })
    }

    /// When the next backend goes.
    pub(super) fn next(&self) -> Option<Instant> {
        let all = self.all.values().filter(|leaver| !leaver.planned);
        all.map(|leaver| leaver.until).min()
    }

    /// Adds to the pool's members those that the maps still hold, and that have not left long ago.
    /// Before there is a time, nothing is kept.
    pub(super) fn keep(
        &mut self,
        service: &ObjectKey,
        pool: &mut Pool,
        index: u32,
        mirror: &Mirror,
        now: Option<Instant>,
    ) {
        let (Some(grace), Some(now)) = (pool.grace, now) else {
            self.forget(index);
            return;
        };
        let Some(state) = mirror.pool(index) else {
            return;
        };
        // Sorted; who is kept comes behind them.
        let planned = pool.members.len();
        for (&id, flags) in state.members() {
            let Some(key) = mirror.backends().key(id) else {
                continue;
            };
            let at = (key.addr, key.port);
            let members = &pool.members[..planned];
            if members
                .binary_search_by_key(&at, |m| (m.addr, m.port))
                .is_ok()
            {
                self.all.remove(&(index, id));
                continue;
            }
            let since = self.all.get(&(index, id)).map_or(now, |known| known.since);
            let until = since.checked_add(grace).unwrap_or(now + FOREVER);
            if until <= now {
                self.all.remove(&(index, id));
                continue;
            }
            let service = service.clone();
            let leaver = Leaver {
                since,
                until,
                planned: false,
                service,
            };
            self.all.insert((index, id), leaver);
            pool.members.push(Member {
                addr: key.addr,
                port: key.port,
                flags: MemberFlags::KEPT
                    .with(MemberFlags::TERMINATING, true)
                    .with(MemberFlags::LOCAL, flags.has(MemberFlags::LOCAL))
                    .with(MemberFlags::OWN, flags.has(MemberFlags::OWN)),
            });
        }
        pool.members.sort_by_key(|m| (m.addr, m.port));
    }
}

/// A time that no agent sees the end of.
const FOREVER: Duration = Duration::from_hours(24 * 365);
