//! The form of a hand-written scenario: states of a small cluster, and what the referee itself must
//! say of them, so that two that are wrong alike are seen. Knows no rule.

use std::collections::BTreeSet;

use conformance::{Answered, Client, Endpoint, Front, Plan, Slice, Svc, judge::names};
use testbed::probe::{Observation, Outcome};

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
    client: Client,
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
    pub(crate) fn says(mut self, client: Client, front: Front, answer: Answer) -> Self {
        self.expects.push(Expected {
            state: self.plan.states.len() - 1,
            client,
            front,
            answer,
        });
        self
    }

    /// What the referee says otherwise than is expected; `answered` are all questions of this
    /// scenario.
    pub(crate) fn surprises(&self, answered: &[&Answered]) -> Vec<String> {
        let mut surprises = Vec::new();
        for expected in &self.expects {
            let Expected {
                state,
                client,
                front,
                answer,
            } = expected;
            let asked = answered.iter().filter(|one| {
                let question = &one.question;
                let same = question.client == *client && question.front == *front;
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
                surprises.push(format!("no client asked: {expected:?}"));
            }
        }
        surprises
    }
}

impl Answer {
    /// An unconnected UDP socket hears of no refusal.
    fn is(self, observed: &Observation, sees_no_error: bool) -> bool {
        let silence = Observation::from([Outcome::Silence]);
        let pods: BTreeSet<String> = names(observed)
            .iter()
            .filter_map(|name| Some(name.split_once(':')?.0.to_owned()))
            .collect();
        let named = |numbers: &[usize]| -> BTreeSet<String> {
            numbers.iter().map(|n| format!("pod-{n}")).collect()
        };
        match self {
            Self::Pods(numbers) => {
                names(observed).len() == observed.len() && pods == named(numbers)
            }
            Self::OneOf(numbers) => {
                observed.len() == 1 && pods.is_subset(&named(numbers)) && pods.len() == 1
            }
            Self::Silence => {
                *observed == silence || *observed == Observation::from([Outcome::Errno(EPERM)])
            }
            Self::Refused => {
                let said = observed
                    .iter()
                    .all(|one| matches!(one, Outcome::Errno(EPERM | ECONNREFUSED)));
                said || sees_no_error && *observed == silence
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
