//! A round: plans side by side, state after state, all their questions asked in both worlds, every
//! difference asked again before it counts.

use std::{collections::BTreeMap, thread};

use anyhow::{Context as _, Result, anyhow};
use testbed::probe::{Ask, Observation};

use crate::{
    judge::{Case, Verdict},
    plan::Plan,
    question::{Client, Question},
    reused,
    score::{Answered, Score},
    setup::Testbed,
    side::Side,
    stage::Stage,
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

/// Runs plans side by side; nothing of them stands when this returns.
pub fn run(bed: &mut Testbed, plans: &[Plan], asked: &Asked) -> Result<Score> {
    let mut stage = Stage::new(bed.numbers());
    let score = play(bed, &mut stage, plans, asked)?;
    stage.clear(bed)?;
    Ok(score)
}

/// Runs plans side by side, right after what stands there; the last state stays.
pub(crate) fn play(
    bed: &mut Testbed,
    stage: &mut Stage,
    plans: &[Plan],
    asked: &Asked,
) -> Result<Score> {
    let states = plans.iter().map(|plan| plan.states.len()).max();
    let mut score = Score::default();
    for state in 0..states.unwrap_or(0) {
        if state == 0 {
            stage.enter(bed, plans)?;
        } else {
            stage.advance(bed, plans, state)?;
        }
        let mut items = stage.questions(bed, plans, state, asked);
        score.again += settle(bed, &mut items)?;
        if bed.is_pair() {
            reused::ask(bed, &mut items)?;
        }
        score.answered.extend(items);
        bed.check()?;
    }
    Ok(score)
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
                inside: one.inside.as_ref(),
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

/// Who asks, and on which node.
pub(crate) type Asker = (Client, Side);

/// Where an answer belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    Theirs,
    Ours,
    Pool,
    Inside,
}

fn ask(bed: &Testbed, items: &mut [Answered], open: &[usize], more: u32) -> Result<()> {
    let threads = (THREADS * more as usize).min(MOST_THREADS);
    let asks = |one: &Answered| {
        let Answered {
            question,
            svc,
            shadow,
            ..
        } = one;
        let mut asks = vec![
            (Which::Ours, question.clone()),
            (Which::Theirs, question.clone()),
        ];
        asks.extend(shadow.iter().map(|shadow| (Which::Pool, shadow.clone())));
        if question.is_halved(svc) {
            let inside = shadow.as_ref().unwrap_or(question).clone();
            asks.push((Which::Inside, inside.from_inside()));
        }
        let with_patience = |(which, question): (Which, Question)| {
            let asker = (question.client, question.from);
            (which, asker, question.ask(more))
        };
        asks.into_iter().map(with_patience).collect()
    };
    for (index, which, observed) in ask_all(bed, items, open, threads, asks)? {
        let one = &mut items[index];
        match which {
            Which::Theirs => one.theirs = observed,
            Which::Ours => one.ours = observed,
            Which::Pool => one.pool = Some(observed),
            Which::Inside => one.inside = Some(observed),
        }
    }
    Ok(())
}

/// Every client of both worlds asks at once, each so many questions at a time.
pub(crate) fn ask_all(
    bed: &Testbed,
    items: &[Answered],
    open: &[usize],
    threads: usize,
    asks: impl Fn(&Answered) -> Vec<(Which, Asker, Ask)>,
) -> Result<Vec<(usize, Which, Observation)>> {
    let mut lists: BTreeMap<(bool, Asker), List> = BTreeMap::new();
    for index in open {
        for (which, asker, ask) in asks(&items[*index]) {
            let is_ours = matches!(which, Which::Ours);
            let list = lists.entry((is_ours, asker)).or_default();
            list.push((*index, which, ask));
        }
    }
    let answers = thread::scope(|scope| {
        let running: Vec<_> = lists
            .into_iter()
            .map(|((is_ours, (client, side)), list)| {
                let world = if is_ours { bed.ours() } else { bed.theirs() };
                scope.spawn(move || survey(world, client, side, &list, threads))
            })
            .collect();
        let joined = running.into_iter().map(|thread| {
            thread
                .join()
                .map_err(|_| anyhow!("a thread that asked has panicked"))?
        });
        joined.collect::<Result<Vec<_>>>()
    })?;
    Ok(answers.into_iter().flatten().collect())
}

fn survey(
    world: &World,
    client: Client,
    side: Side,
    list: &List,
    threads: usize,
) -> Result<Vec<(usize, Which, Observation)>> {
    let mut all = Vec::with_capacity(list.len());
    for go in list.chunks(GO) {
        let asks = go.iter().map(|(_, _, ask)| ask.clone()).collect();
        let observed = world.client(client, side).survey(asks, threads);
        let observed = observed.with_context(|| format!("ask as {client:?} of {side:?}"))?;
        let places = go.iter().map(|(index, which, _)| (*index, *which));
        all.extend(
            places
                .zip(observed)
                .map(|((index, which), observed)| (index, which, observed)),
        );
    }
    Ok(all)
}
