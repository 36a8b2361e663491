//! A round: plans side by side, state after state, all their questions asked in both worlds, every
//! difference asked again before it counts.

use std::{collections::BTreeMap, thread};

use anyhow::{Context as _, Result, anyhow};
use testbed::probe::{Ask, Observation};

use crate::{
    apply::{Job, Live, Manifest},
    judge::{Case, Verdict},
    objects::Slot,
    plan::{Ingress, Plan, Svc, Type},
    question::{self, Client, Question},
    setup::Testbed,
    world::World,
};

/// Questions at a time of one client, in the first round; in later ones most wait for nothing.
const THREADS: usize = 12;
/// And at most.
const MOST_THREADS: usize = 64;
/// Questions of one go, so that each is done well before a helper counts as hanging.
const GO: usize = 200;
/// A difference is asked that often, with double the patience each time, before it is one.
const ROUNDS: u32 = 4;
/// Load-balancer IPs of a Service's shadow are numbered from here on.
const SHADOW: u8 = 64;

/// Which questions are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Those that are asked like this one, of whatever Service.
    Like(Box<Question>),
    /// All of them.
    All,
    /// So many of each Service in each state, chosen by the plan's name.
    Some(usize),
}

/// A question that was asked, and both answers.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Which plan.
    pub plan: usize,
    /// Which of its states.
    pub state: usize,
    /// What was asked.
    pub question: Question,
    /// Of which Service.
    pub svc: Svc,
    /// kube-proxy's world.
    pub theirs: Observation,
    /// Ours.
    pub ours: Observation,
    /// kube-proxy's world, of the same Service without session affinity.
    pub pool: Option<Observation>,
    shadow: Option<Question>,
    /// What came of it.
    pub verdict: Verdict,
}

/// A difference that is not meant.
pub type Difference = Answered;

/// What came of a round.
#[derive(Debug, Clone, Default)]
pub struct Score {
    /// Every question.
    pub answered: Vec<Answered>,
    /// Questions that were asked again.
    pub again: usize,
}

impl Score {
    /// What differs and is not meant to.
    pub fn differences(&self) -> impl Iterator<Item = &Difference> {
        let differs = |one: &&Answered| one.verdict == Verdict::Differs;
        self.answered.iter().filter(differs)
    }

    /// How often each difference that is meant was seen.
    #[must_use]
    pub fn tolerated(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for one in &self.answered {
            if let Verdict::Tolerated(name) = one.verdict {
                *counts.entry(name).or_default() += 1;
            }
        }
        counts
    }

    /// Adds another round's.
    pub fn add(&mut self, other: Self) {
        self.answered.extend(other.answered);
        self.again += other.again;
    }
}

impl std::fmt::Display for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "state {}: {}\n  kube-proxy: {:?}\n  lb-agent:   {:?}",
            self.state, self.question, self.theirs, self.ours
        )?;
        if let Some(pool) = &self.pool {
            write!(f, "\n  kube-proxy without session affinity: {pool:?}")?;
        }
        Ok(())
    }
}

/// One plan in its place.
struct Staged {
    slot: Slot,
    /// By position, shadows after the plan's own.
    standing: Vec<Option<(Svc, Live)>>,
    gone: Vec<(usize, Svc, Live)>,
}

/// Runs plans side by side; nothing of them stands when this returns.
pub fn run(bed: &mut Testbed, plans: &[Plan], asked: &Asked) -> Result<Score> {
    let mut staged: Vec<Staged> = Vec::new();
    for number in 0..plans.len() {
        let number = u8::try_from(number).context("more plans than slots")?;
        let slot = bed.slot(number);
        staged.push(Staged {
            slot,
            standing: Vec::new(),
            gone: Vec::new(),
        });
    }
    let states = plans
        .iter()
        .map(|plan| plan.states.len())
        .max()
        .unwrap_or(0);
    let mut score = Score::default();
    for state in 0..states {
        let wanted: Vec<Vec<Option<Svc>>> = plans.iter().map(|plan| at(plan, state)).collect();
        advance(bed, &mut staged, &wanted)?;
        let mut items = Vec::new();
        for (index, (plan, one)) in plans.iter().zip(&mut staged).enumerate() {
            if state < plan.states.len() {
                items.extend(questions(index, state, &plan.name, one, asked));
            }
            one.gone.clear();
        }
        score.again += settle(bed, &mut items)?;
        score.answered.extend(items);
        bed.check()?;
    }
    let nothing = vec![Vec::new(); plans.len()];
    advance(bed, &mut staged, &nothing)?;
    Ok(score)
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

fn advance(bed: &mut Testbed, staged: &mut [Staged], wanted: &[Vec<Option<Svc>>]) -> Result<()> {
    let (mut jobs, mut places) = (Vec::new(), Vec::new());
    for (index, (one, wanted)) in staged.iter_mut().zip(wanted).enumerate() {
        let count = one.standing.len().max(wanted.len());
        one.standing.resize(count, None);
        for position in 0..count {
            let before = one.standing[position].take();
            let after = wanted.get(position).cloned().flatten();
            places.push((index, position, after.clone(), before.clone()));
            let manifest = |svc: &Svc| Manifest::new(&one.slot, position, svc);
            jobs.push(Job {
                namespace: one.slot.namespace.clone(),
                name: one.slot.name(position),
                before: before.map(|(svc, live)| (manifest(&svc), live)),
                after: after.as_ref().map(manifest),
            });
        }
    }
    let live = bed.write(&jobs)?;
    for ((index, position, after, before), live) in places.into_iter().zip(live) {
        let one = &mut staged[index];
        if let (Some((svc, before)), true) = (before, live.is_none())
            && svc.kind != Type::Headless
        {
            one.gone.push((position, svc, before));
        }
        one.standing[position] = after.zip(live);
    }
    Ok(())
}

fn questions(
    plan: usize,
    state: usize,
    name: &str,
    staged: &Staged,
    asked: &Asked,
) -> Vec<Answered> {
    let mut items = Vec::new();
    let own = staged.standing.len() / 2;
    let chosen = |questions: Vec<Question>| match asked {
        Asked::All => questions,
        Asked::Some(count) => question::sample(questions, *count, name, state),
        Asked::Like(one) => {
            let mut questions = questions;
            questions.retain(|question| question.is_like(one));
            questions
        }
    };
    let mut add = |question: Question, svc: &Svc, shadow| {
        items.push(Answered {
            plan,
            state,
            question,
            svc: svc.clone(),
            theirs: Observation::new(),
            ours: Observation::new(),
            pool: None,
            shadow,
            verdict: Verdict::Differs,
        });
    };
    for (position, standing) in staged.standing.iter().take(own).enumerate() {
        let Some((svc, live)) = standing else {
            continue;
        };
        let all = question::all(&staged.slot, position, svc, live);
        // The same questions of the shadow stand in the same order.
        let shadows = match staged.standing.get(own + position) {
            Some(Some((svc, live))) => question::all(&staged.slot, own + position, svc, live),
            _ => Vec::new(),
        };
        let twins: BTreeMap<usize, Question> = shadows.into_iter().enumerate().collect();
        for question in chosen(all.clone()) {
            let index = all.iter().position(|one| *one == question);
            let shadow = index.and_then(|index| twins.get(&index).cloned());
            add(question, svc, shadow);
        }
    }
    for (position, svc, live) in staged.gone.iter().filter(|(position, ..)| *position < own) {
        for question in chosen(question::gone(*position, svc, live)) {
            add(question, svc, None);
        }
    }
    items
}

/// Asks all, and what differs again; how many those were.
fn settle(bed: &Testbed, items: &mut [Answered]) -> Result<usize> {
    let mut open: Vec<usize> = (0..items.len()).collect();
    let mut again = 0;
    for round in 0..ROUNDS {
        ask(bed, items, &open, 1 << round)?;
        for index in &open {
            let one = &mut items[*index];
            let case = Case {
                question: &one.question,
                svc: &one.svc,
                theirs: &one.theirs,
                ours: &one.ours,
            };
            one.verdict = case.judge(one.pool.as_ref());
        }
        open.retain(|index| items[*index].verdict == Verdict::Differs);
        if open.is_empty() {
            break;
        }
        if round == 0 {
            again = open.len();
        }
    }
    Ok(again)
}

/// What one client asks in one world, and where the answers belong.
type List = Vec<(usize, Which, Ask)>;

/// Where an answer belongs.
#[derive(Clone, Copy)]
enum Which {
    Theirs,
    Ours,
    Pool,
}

fn ask(bed: &Testbed, items: &mut [Answered], open: &[usize], more: u32) -> Result<()> {
    let mut lists: Vec<(&World, Client, List)> = Vec::new();
    for client in Client::ALL {
        let of_asker = || open.iter().filter(|i| items[**i].question.client == client);
        let mut theirs = Vec::new();
        for index in of_asker() {
            let one = &items[*index];
            theirs.push((*index, Which::Theirs, one.question.ask(more)));
            if let Some(shadow) = &one.shadow {
                theirs.push((*index, Which::Pool, shadow.ask(more)));
            }
        }
        let ours = of_asker().map(|index| (*index, Which::Ours, items[*index].question.ask(more)));
        lists.push((bed.ours(), client, ours.collect()));
        lists.push((bed.theirs(), client, theirs));
    }
    let answers = thread::scope(|scope| {
        let running: Vec<_> = lists
            .into_iter()
            .map(|(world, client, list)| scope.spawn(move || survey(world, client, &list, more)))
            .collect();
        let joined = running.into_iter().map(|thread| {
            thread
                .join()
                .map_err(|_| anyhow!("a thread that asked has panicked"))?
        });
        joined.collect::<Result<Vec<_>>>()
    })?;
    for (index, which, observed) in answers.into_iter().flatten() {
        let one = &mut items[index];
        match which {
            Which::Theirs => one.theirs = observed,
            Which::Ours => one.ours = observed,
            Which::Pool => one.pool = Some(observed),
        }
    }
    Ok(())
}

fn survey(
    world: &World,
    client: Client,
    list: &List,
    more: u32,
) -> Result<Vec<(usize, Which, Observation)>> {
    let mut all = Vec::with_capacity(list.len());
    let threads = (THREADS * more as usize).min(MOST_THREADS);
    for go in list.chunks(GO) {
        let asks = go.iter().map(|(_, _, ask)| ask.clone()).collect();
        let observed = world.client(client).survey(asks, threads);
        let observed = observed.with_context(|| format!("ask as {client:?}"))?;
        let places = go.iter().map(|(index, which, _)| (*index, *which));
        all.extend(
            places
                .zip(observed)
                .map(|((index, which), observed)| (index, which, observed)),
        );
    }
    Ok(all)
}
