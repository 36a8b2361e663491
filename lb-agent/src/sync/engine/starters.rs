//! Endpoints that are new to a Service with slow start: since when, and when their share grows.
//! Never reads the clock: the caller brings the time.

use std::{collections::BTreeMap, time::Instant};

use lb_common::{Addr, Proto};

use crate::{
    model::{ObjectKey, Service, SlowStart, removal::BLINK},
    plan::{ServicePlan, desired::MemberFlags, slow_start},
};

/// A Service is planned for its shares so many times in each step at most, however many endpoints
/// it has.
const TOGETHER: u32 = 4;

/// An endpoint of a port.
type Place = (Addr, u16, Proto);

/// By Service, those that have slow start.
#[derive(Default)]
pub(super) struct Starters {
    all: BTreeMap<ObjectKey, Endpoints>,
}

/// The endpoints of one Service that serve, and those that did a moment ago.
#[derive(Default)]
struct Endpoints {
    all: BTreeMap<Place, Endpoint>,
    /// When a share grows, unless the Service is to be planned for that already.
    due: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Endpoint {
    /// When it began; `None`: it has its whole share.
    since: Option<Instant>,
    /// When it was found gone; `None`: it serves.
    left: Option<Instant>,
}

/// How an endpoint counts that was not there before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Newcomers {
    /// As old: not everything is listed yet, the agent has just begun, or the Service has just got
    /// slow start.
    Old,
    /// As new, from now on.
    Start,
}

impl Starters {
    /// The Service had slow start when it was planned last.
    pub(super) fn knows(&self, service: &ObjectKey) -> bool {
        self.all.contains_key(service)
    }

    /// Gives new endpoints of this plan their part of the share.
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
        let endpoints = self.all.entry(service.key.clone()).or_default();
        endpoints.found(plan, slow, now, newcomers);
        for pool in &mut plan.pools {
            let proto = pool.id.proto;
            slow_start::apply(pool, |addr, port| {
                endpoints.parts(slow, (addr, port, proto), now)
            });
        }
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
    /// Notes who serves, who has left, and when a share grows.
    fn found(&mut self, plan: &ServicePlan, slow: SlowStart, now: Instant, newcomers: Newcomers) {
        // One that moves from slice to slice is away between two events.
        let is_gone = |left: Instant| now.saturating_duration_since(left) > BLINK;
        self.all.retain(|_, one| !one.left.is_some_and(is_gone));
        for one in self.all.values_mut() {
            one.left.get_or_insert(now);
        }
        for pool in &plan.pools {
            // Those too that hints leave out, or that weigh nothing: they are not new when that ends.
            let serves = |flags: MemberFlags| {
                flags.has(MemberFlags::SERVING) && !flags.has(MemberFlags::TERMINATING)
            };
            for member in pool.members.iter().filter(|m| serves(m.flags)) {
                let place = (member.addr, member.port, pool.id.proto);
                let one = self.all.entry(place).or_insert(Endpoint {
                    since: (newcomers == Newcomers::Start).then_some(now),
                    left: None,
                });
                one.left = None;
                // Once whole, a share stays whole.
                one.since = one.since.filter(|since| step(slow, *since, now).is_some());
            }
        }
        let starting = self.all.values().filter(|one| one.left.is_none());
        let steps = starting.filter_map(|one| step(slow, one.since?, now));
        // Of many that began one after the other, several grow at once.
        let soonest = now + slow.step() / TOGETHER;
        self.due = steps.map(|(_, next)| next.max(soonest)).min();
    }

    /// The parts of its weight that an endpoint has; `None`: all.
    fn parts(&self, slow: SlowStart, place: Place, now: Instant) -> Option<u8> {
        let (parts, _) = step(slow, self.all.get(&place)?.since?, now)?;
        Some(parts)
    }
}

/// The parts of its weight that an endpoint of this age has, and when it has more.
fn step(slow: SlowStart, since: Instant, now: Instant) -> Option<(u8, Instant)> {
    let (parts, until) = slow.at(now.saturating_duration_since(since))?;
    Some((parts, since + until))
}
