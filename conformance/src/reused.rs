//! The same questions again, from client ports of a small pool that other questions, of other
//! Services too, have used a moment ago: whoever asks from there is to be answered as from a port
//! of its own. One thing is left to UDP: a datagram may belong to a flow that stands, and that
//! keeps a backend which still serves, whatever policy and readiness say by now.

use anyhow::Result;
use testbed::probe::{Ask, Observation, Outcome};

use crate::{
    judge::Verdict,
    plan::{Endpoint, Slice},
    question::{Front, PATIENCE_MS},
    round::{self, Which},
    score::Answered,
    setup::Testbed,
    world::{self, TARGETS},
};

/// Where anything is expected: longer than a lost SYN and the next one, so that a busy machine is
/// no difference.
const PATIENCE_OF_ANSWERS_MS: u64 = 3500;
/// At most so often each.
const TRIES: usize = 6;
/// Questions of one client at a time: less than its ports.
const THREADS: usize = 8;

/// Asks all whose answers from fresh ports are as they should be.
pub(crate) fn ask(bed: &Testbed, items: &mut [Answered]) -> Result<()> {
    let fine = |one: &Answered| one.verdict != Verdict::Differs;
    let open: Vec<usize> = (0..items.len()).filter(|i| fine(&items[*i])).collect();
    let asks = |one: &Answered| {
        let asker = (one.question.client, one.question.from);
        let mut asks = vec![(Which::Ours, asker, again(one, &one.ours))];
        // What is halved depends on chance.
        if one.inside.is_none() {
            asks.push((Which::Theirs, asker, again(one, &one.theirs)));
        }
        asks
    };
    for (index, which, observed) in round::ask_all(bed, items, &open, THREADS, asks)? {
        let one = &mut items[index];
        let mut reused = one.reused.take().unwrap_or_default();
        match which {
            Which::Ours => {
                reused.we_differ = !holds(one, &one.ours, &observed);
                reused.ours = observed;
            }
            Which::Theirs | Which::Pool | Which::Inside => {
                reused.they_differ = !holds(one, &one.theirs, &observed);
                reused.theirs = observed;
            }
        }
        one.reused = Some(reused);
    }
    Ok(())
}

fn again(one: &Answered, fresh: &Observation) -> Ask {
    let is_answered = fresh
        .iter()
        .any(|one| matches!(one, Outcome::Answer { .. }));
    let ask = one.question.ask(1);
    Ask {
        tries: if is_answered { ask.tries.min(TRIES) } else { 1 },
        within_ms: if fresh.contains(&Outcome::Silence) {
            PATIENCE_MS
        } else {
            PATIENCE_OF_ANSWERS_MS
        },
        reused: true,
        ..ask
    }
}

/// Nothing but what a fresh port hears, or a flow that stands.
fn holds(one: &Answered, fresh: &Observation, observed: &Observation) -> bool {
    observed
        .iter()
        .all(|outcome| fresh.contains(outcome) || is_kept(one, outcome))
}

/// Whether the answer may be of a UDP flow that stands.
fn is_kept(one: &Answered, outcome: &Outcome) -> bool {
    let Outcome::Answer { name, .. } = outcome else {
        return false;
    };
    let question = &one.question;
    let stands = !matches!(question.front, Front::Gone | Front::GoneNodePort);
    question.udp && stands && one.svc.slices.iter().any(|slice| serves(one, slice, name))
}

/// Whether the slice has an endpoint of this name that serves.
fn serves(one: &Answered, slice: &Slice, name: &str) -> bool {
    let target = slice.targets.get(one.question.port).copied().flatten();
    let Some(target) = target.and_then(|target| TARGETS.get(target)) else {
        return false;
    };
    let is_it = |endpoint: &Endpoint| {
        let serves = endpoint.serving.unwrap_or(true);
        serves && format!("{}:{target}", world::pod(endpoint.pod).name) == name
    };
    slice.is_of(one.question.family) && slice.endpoints.iter().any(is_it)
}
