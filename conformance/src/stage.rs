//! Plans in their places, state after state: what stands, what has gone, and which questions can be
//! asked of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher as _},
    net::IpAddr,
};

use anyhow::{Context as _, Result};
use testbed::probe::Observation;

use crate::{
    apply::{Job, Live, Manifest},
    judge::Verdict,
    numbers::{Given, Numbers},
    objects::Slot,
    plan::{Ingress, Plan, Svc, Type},
    question::{self, Question},
    round::Asked,
    score::Answered,
    setup::Testbed,
};

/// Load-balancer IPs of a Service's shadow are numbered from here on.
const SHADOW: u8 = 64;
/// Questions of each Service that has gone, where only some are asked.
const OF_GONE: usize = 3;

/// All places.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    places: Vec<Place>,
    /// Where numbers are chosen here, and not by the API server.
    numbers: Option<Numbers>,
}

/// One plan in its place.
#[derive(Debug)]
struct Place {
    slot: Slot,
    /// By position, shadows after the plan's own.
    standing: Vec<Option<Standing>>,
    gone: Vec<(usize, Svc, Live)>,
}

/// A Service.
#[derive(Debug, Clone)]
struct Standing {
    svc: Svc,
    live: Live,
    given: Option<Given>,
}

impl Stage {
    /// An empty one.
    pub(crate) fn new(numbers: Option<Numbers>) -> Self {
        Self {
            places: Vec::new(),
            numbers,
        }
    }

    /// The first state of other plans, whatever stood before.
    pub(crate) fn enter(&mut self, bed: &mut Testbed, plans: &[Plan]) -> Result<()> {
        let mut deletions = Vec::new();
        for place in &mut self.places {
            let own = place.standing.len() / 2;
            for (position, standing) in std::mem::take(&mut place.standing).into_iter().enumerate()
            {
                let Some(standing) = standing else { continue };
                deletions.push(deletion(&place.slot, position, &standing));
                if let (Some(numbers), Some(given)) = (&mut self.numbers, standing.given) {
                    numbers.leave(given);
                }
                if position < own && standing.svc.kind != Type::Headless {
                    place.gone.push((position, standing.svc, standing.live));
                }
            }
        }
        for number in 0..plans.len().max(self.places.len()) {
            let slot = bed.slot(u8::try_from(number).context("more plans than slots")?);
            match self.places.get_mut(number) {
                Some(place) => place.slot = slot,
                None => self.places.push(Place {
                    slot,
                    standing: Vec::new(),
                    gone: Vec::new(),
                }),
            }
        }
        self.change(bed, plans, 0, deletions)
    }

    /// The next state of the plans that stand.
    pub(crate) fn advance(
        &mut self,
        bed: &mut Testbed,
        plans: &[Plan],
        state: usize,
    ) -> Result<()> {
        self.change(bed, plans, state, Vec::new())
    }

    /// Nothing stands any more.
    pub(crate) fn clear(mut self, bed: &mut Testbed) -> Result<()> {
        self.enter(bed, &[])
    }

    fn change(
        &mut self,
        bed: &mut Testbed,
        plans: &[Plan],
        state: usize,
        mut deletions: Vec<Job>,
    ) -> Result<()> {
        let mut changes = Vec::new();
        for (index, place) in self.places.iter_mut().enumerate() {
            let wanted = plans
                .get(index)
                .map_or_else(Vec::new, |plan| at(plan, state));
            let count = place.standing.len().max(wanted.len());
            place.standing.resize(count, None);
            for position in 0..count {
                let mut before = place.standing[position].take();
                let after = wanted.get(position).cloned().flatten();
                let is_kept = |before: &Standing| {
                    after
                        .as_ref()
                        .is_some_and(|svc| svc.made == before.svc.made)
                };
                // A number is free once nobody has it: what goes must have gone before.
                if let Some(numbers) = &mut self.numbers
                    && let Some(gone) = before.take_if(|before| !is_kept(before))
                {
                    deletions.push(deletion(&place.slot, position, &gone));
                    if let Some(given) = gone.given {
                        numbers.leave(given);
                    }
                    if after.is_none() && position < count / 2 && gone.svc.kind != Type::Headless {
                        place.gone.push((position, gone.svc, gone.live));
                    }
                }
                changes.push((index, position, before, after));
            }
        }
        let mut jobs = Vec::with_capacity(changes.len());
        let mut kept = Vec::with_capacity(changes.len());
        for (index, position, before, after) in &changes {
            let slot = &self.places[*index].slot;
            let given = match (before, after, &mut self.numbers) {
                (Some(before), _, _) => before.given,
                (None, Some(_), Some(numbers)) => {
                    let name = plans.get(*index).map(|plan| &plan.name);
                    Some(numbers.take(hash((name, position, state)))?)
                }
                _ => None,
            };
            kept.push(given);
            jobs.push(Job {
                namespace: slot.namespace.clone(),
                name: slot.name(*position),
                before: before.as_ref().map(|before| {
                    let manifest = Manifest::new(slot, *position, &before.svc, before.given);
                    (manifest, before.live.clone())
                }),
                after: after
                    .as_ref()
                    .map(|svc| Manifest::new(slot, *position, svc, given)),
            });
        }
        let live = bed.write(&deletions, &jobs)?;
        for (((index, position, before, after), given), live) in
            changes.into_iter().zip(kept).zip(live)
        {
            let place = &mut self.places[index];
            if let (Some(Standing { svc, live, .. }), None) = (before, &live)
                && svc.kind != Type::Headless
                && position < place.standing.len() / 2
            {
                place.gone.push((position, svc, live));
            }
            place.standing[position] =
                after
                    .zip(live)
                    .map(|(svc, live)| Standing { svc, live, given });
        }
        Ok(())
    }

    /// What is asked of the plans that have this state, and of what has gone since it was asked
    /// last.
    pub(crate) fn questions(
        &mut self,
        bed: &Testbed,
        plans: &[Plan],
        state: usize,
        asked: &Asked,
    ) -> Vec<Answered> {
        let taken = self.taken();
        let mut items = Vec::new();
        for (index, (plan, place)) in plans.iter().zip(&mut self.places).enumerate() {
            if state < plan.states.len() {
                let ask = Asking {
                    plan: index,
                    state,
                    name: &plan.name,
                    asked,
                };
                ask.standing(bed, place, &mut items);
                ask.gone(bed, place, &taken, &mut items);
            }
            place.gone.clear();
        }
        items
    }

    /// The addresses and node ports that somebody has.
    fn taken(&self) -> (BTreeSet<IpAddr>, BTreeSet<u16>) {
        let standing = || {
            let all = self.places.iter().flat_map(|place| &place.standing);
            all.flatten().map(|standing| &standing.live)
        };
        let ips = standing().flat_map(|live| live.cluster_ips.iter().copied());
        let ports = standing().flat_map(|live| live.node_ports.iter().flatten().copied());
        (ips.collect(), ports.collect())
    }
}

fn deletion(slot: &Slot, position: usize, standing: &Standing) -> Job {
    let Standing { svc, live, given } = standing;
    Job {
        namespace: slot.namespace.clone(),
        name: slot.name(position),
        before: Some((Manifest::new(slot, position, svc, *given), live.clone())),
        after: None,
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A state with its shadows; past the last one it stays.
fn at(plan: &Plan, state: usize) -> Vec<Option<Svc>> {
    let last = plan.states.len().saturating_sub(1);
    let Some(own) = plan.states.get(state.min(last)) else {
        return Vec::new();
    };
    let shadows = own.iter().map(|svc| {
        let svc = svc.as_ref().filter(|svc| svc.affinity.is_some())?;
        let moved = |ingress: &Ingress| match ingress {
            Ingress::Ip(n, mode) => Ingress::Ip(SHADOW + n, *mode),
            Ingress::Hostname => Ingress::Hostname,
        };
        Some(Svc {
            affinity: None,
            ingress: svc.ingress.iter().map(moved).collect(),
            ..svc.clone()
        })
    });
    own.iter().cloned().chain(shadows).collect()
}

/// Of which plan what is asked.
struct Asking<'a> {
    plan: usize,
    state: usize,
    name: &'a str,
    asked: &'a Asked,
}

impl Asking<'_> {
    fn chosen(&self, mut questions: Vec<Question>, most: usize) -> Vec<Question> {
        match self.asked {
            Asked::All => questions,
            Asked::Some(count) => {
                question::sample(questions, most.min(*count), self.name, self.state)
            }
            Asked::Like(one) => {
                questions.retain(|question| question.is_like(one));
                questions
            }
        }
    }

    fn item(&self, question: Question, svc: &Svc, shadow: Option<Question>) -> Answered {
        Answered {
            plan: self.plan,
            state: self.state,
            question,
            svc: svc.clone(),
            theirs: Observation::new(),
            ours: Observation::new(),
            pool: None,
            shadow,
            inside: None,
            reused: None,
            verdict: Verdict::Differs,
        }
    }

    fn standing(&self, bed: &Testbed, place: &Place, items: &mut Vec<Answered>) {
        let own = place.standing.len() / 2;
        let all_of = |position: usize| match place.standing.get(position) {
            Some(Some(Standing { svc, live, .. })) => {
                question::all(bed.sides(), &place.slot, position, svc, live)
            }
            _ => Vec::new(),
        };
        for (position, standing) in place.standing.iter().take(own).enumerate() {
            let Some(Standing { svc, .. }) = standing else {
                continue;
            };
            let all = all_of(position);
            // The same questions of the shadow stand in the same order.
            let shadows = all_of(own + position);
            let twins: BTreeMap<usize, Question> = shadows.into_iter().enumerate().collect();
            for question in self.chosen(all.clone(), usize::MAX) {
                let index = all.iter().position(|one| *one == question);
                let shadow = index.and_then(|index| twins.get(&index).cloned());
                items.push(self.item(question, svc, shadow));
            }
        }
    }

    fn gone(
        &self,
        bed: &Testbed,
        place: &Place,
        (ips, ports): &(BTreeSet<IpAddr>, BTreeSet<u16>),
        items: &mut Vec<Answered>,
    ) {
        for (position, svc, live) in &place.gone {
            let mut all = question::gone(bed.sides(), *position, svc, live);
            all.retain(|one| !ips.contains(&one.to.ip()) && !ports.contains(&one.to.port()));
            for question in self.chosen(all, OF_GONE) {
                items.push(self.item(question, svc, None));
            }
        }
    }
}
