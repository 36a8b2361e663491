//! Endpoints that are new to a Service with slow start: since when, and when their share grows.
//! Never reads the clock: the caller brings the time.

use std::{collections::BTreeMap, time::Instant};

use lb_common::{Addr, Proto};

use crate::{
    model::{ObjectKey, Service, SlowStart},
    plan::{ServicePlan, desired::MemberFlags, slow_start},
};

/// An endpoint of a port.
type Place = (Addr, u16, Proto);

/// By Service, those that have slow start.
#[derive(Default)]
pub(super) struct Starters {
    all: BTreeMap<ObjectKey, Endpoints>,
}

/// The endpoints of one Service that serve.
#[derive(Default)]
struct Endpoints {
    /// When each began; `None`: it has its whole share.
    since: BTreeMap<Place, Option<Instant>>,
    /// When a share grows, unless the Service is to be planned for that already.
    due: Option<Instant>,
}

/// How an endpoint counts that was not there before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Newcomers {
    /// As old: not everything is listed yet, or the agent has just begun.
    Old,
    /// As new, from now on.
    Start,
}

impl Starters {
    /// Gives new endpoints of this plan their part of the share. Those that the Service has when it
    /// gets slow start, and when the agent begins, are not new; nor are those that come to a
    /// Service that has none.
    pub(super) fn apply(
        &mut self,
        service: &Service,
        plan: &mut ServicePlan,
        now: Option<Instant>,
        newcomers: Newcomers,
    ) {
        let (Some(slow), Some(now)) = (service.slow_start, now) else {
            self.forget(&service.key);
            return;
        };
        let known = self.all.remove(&service.key).unwrap_or_default();
        let before = known.since;
        let newcomers = match before.len() {
            0 => Newcomers::Old,
            _ => newcomers,
        };
        let mut endpoints = Endpoints::default();
        for pool in &plan.pools {
            // Those too that hints leave out, or that weigh nothing: they are not new when that ends.
            let serves = |flags: MemberFlags| {
                flags.has(MemberFlags::SERVING) && !flags.has(MemberFlags::TERMINATING)
            };
            for member in pool.members.iter().filter(|m| serves(m.flags)) {
                let place = (member.addr, member.port, pool.id.proto);
                let begun = (newcomers == Newcomers::Start).then_some(now);
                let since = before.get(&place).copied().unwrap_or(begun);
                // Once whole, a share stays whole.
                let since = since.filter(|since| step(slow, *since, now).is_some());
                endpoints.since.insert(place, since);
            }
        }
        for pool in &mut plan.pools {
            let proto = pool.id.proto;
            slow_start::apply(pool, |addr, port| {
                endpoints.parts(slow, (addr, port, proto), now)
            });
        }
        let starting = endpoints.since.values().flatten();
        let steps = starting.filter_map(|since| step(slow, *since, now));
        endpoints.due = steps.map(|(_, next)| next).min();
        self.all.insert(service.key.clone(), endpoints);
    }

    /// The Service is gone, or has no slow start.
    pub(super) fn forget(&mut self, service: &ObjectKey) {
        self.all.remove(service);
    }

    /// Services with an endpoint whose share grows by now; each is named once.
    pub(super) fn grown(&mut self, now: Instant) -> impl Iterator<Item = ObjectKey> {
        let all = self.all.iter_mut();
        all.filter_map(move |(key, endpoints)| {
            endpoints.due.take_if(|due| *due <= now)?;
            Some(key.clone())
        })
    }

    /// When the next share grows.
    pub(super) fn next(&self) -> Option<Instant> {
        self.all
            .values()
            .filter_map(|endpoints| endpoints.due)
            .min()
    }

    /// The parts of its weight that this endpoint has, if it is new.
    pub(super) fn parts(&self, service: &Service, place: Place, now: Instant) -> Option<u8> {
        let endpoints = self.all.get(&service.key)?;
        endpoints.parts(service.slow_start?, place, now)
    }
}

impl Endpoints {
    /// The parts of its weight that an endpoint has; `None`: all.
    fn parts(&self, slow: SlowStart, place: Place, now: Instant) -> Option<u8> {
        let since = (*self.since.get(&place)?)?;
        let (parts, _) = step(slow, since, now)?;
        Some(parts)
    }
}

/// The parts of its weight that an endpoint of this age has, and when it has more.
fn step(slow: SlowStart, since: Instant, now: Instant) -> Option<(u8, Instant)> {
    let (parts, until) = slow.at(now.saturating_duration_since(since))?;
    Some((parts, since + until))
}
