//! Owns the form of a hand-written scenario: states of a small cluster, and what the referee itself must say of them, so that
//! two that are wrong alike are seen. Knows no rule.

use std::collections::BTreeSet;

use conformance::bout::Answered;
use conformance::judge::names;
use conformance::{Asker, Endpoint, Front, Plan, Slice, Svc};
use testbed::probe::{Heard, Outcome};

/// What the host's own datagrams hear of netfilter's drops and refusals.
const EPERM: i32 = 1;
const ECONNREFUSED: i32 = 111;

/// One rule of kube-proxy's, played.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) plan: Plan,
    expects: Vec<Expected>,
}

/// What the referee says of the first Service.
#[derive(Debug, Clone)]
struct Expected {
    state: usize,
    asker: Asker,
    front: Front,
    answer: Answer,
}

/// An answer, by whatever protocol and family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Of exactly these pods of the pool.
    Pods(&'static [usize]),
    /// Of one of them, always the same.
    OneOf(&'static [usize]),
    /// ECONNREFUSED, or what the host hears instead.
    Refused,
    /// Nothing.
    Silence,
}

/// A scenario whose first state has these Services.
pub(crate) fn scenario(name: &str, svcs: &[Svc]) -> Scenario {
    Scenario {
        plan: Plan {
            name: name.to_owned(),
            states: vec![svcs.iter().cloned().map(Some).collect()],
        },
        expects: Vec::new(),
    }
}

impl Scenario {
    /// The next state.
    pub(crate) fn then(mut self, svcs: &[Option<Svc>]) -> Self {
        self.plan.states.push(svcs.to_vec());
        self
    }

    /// In the last state so far, asked like this, the referee says that.
    pub(crate) fn says(mut self, asker: Asker, front: Front, answer: Answer) -> Self {
        self.expects.push(Expected {
            state: self.plan.states.len() - 1,
            asker,
            front,
            answer,
        });
        self
    }

    /// What the referee says otherwise than is expected; `answered` are all questions of this scenario.
    pub(crate) fn surprises(&self, answered: &[&Answered]) -> Vec<String> {
        let mut surprises = Vec::new();
        for expected in &self.expects {
            let Expected {
                state,
                asker,
                front,
                answer,
            } = expected;
            let asked = answered.iter().filter(|one| {
                let question = &one.question;
                let same = question.asker == *asker && question.front == *front;
                same && question.position == 0 && one.state == *state
            });
            let mut found = false;
            for one in asked {
                found = true;
                if !answer.is(&one.theirs, one.question.udp && !one.question.connected) {
                    surprises.push(format!("expected of kube-proxy: {answer:?}; {one}"));
                }
            }
            if !found {
                surprises.push(format!("nobody asked: {expected:?}"));
            }
        }
        surprises
    }
}

impl Answer {
    /// An unconnected UDP socket hears of no refusal.
    fn is(self, heard: &Heard, hears_no_error: bool) -> bool {
        let silence = Heard::from([Outcome::Silence]);
        let pods: BTreeSet<String> = names(heard)
            .iter()
            .filter_map(|name| Some(name.split_once(':')?.0.to_owned()))
            .collect();
        let named = |numbers: &[usize]| -> BTreeSet<String> {
            numbers.iter().map(|n| format!("pod-{n}")).collect()
        };
        match self {
            Self::Pods(numbers) => names(heard).len() == heard.len() && pods == named(numbers),
            Self::OneOf(numbers) => {
                heard.len() == 1 && pods.is_subset(&named(numbers)) && pods.len() == 1
            }
            Self::Silence => *heard == silence || *heard == Heard::from([Outcome::Errno(EPERM)]),
            Self::Refused => {
                let said = heard
                    .iter()
                    .all(|one| matches!(one, Outcome::Errno(EPERM | ECONNREFUSED)));
                said || hears_no_error && *heard == silence
            }
        }
    }
}

/// A slice of all ports, each pod on the first target port.
pub(crate) fn slice(endpoints: impl IntoIterator<Item = Endpoint>) -> Slice {
    Slice {
        targets: vec![Some(0), Some(0)],
        endpoints: endpoints.into_iter().collect(),
        ..Slice::default()
    }
}

/// Slices: one, with these pods, all ready.
pub(crate) fn ready(pods: &[usize]) -> Vec<Slice> {
    vec![slice(pods.iter().map(|pod| Endpoint::new(*pod)))]
}
