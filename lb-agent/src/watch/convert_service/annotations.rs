//! A Service's annotations. Each bad value is a problem that names the annotation and what holds.

use k8s_openapi::api::core::v1 as api;

use crate::model::{Forwarding, PassiveHealth, Removal, Scheduler, SlowStart, Weights};

/// Chooses the scheduler of one Service.
pub const SCHEDULER: &str = "lb-agent.io/scheduler";
/// What becomes of connections whose backend leaves the Service.
pub const REMOVAL: &str = "lb-agent.io/on-backend-removal";
/// Weights of its endpoints, by zone, node and pod.
pub const WEIGHTS: &str = "lb-agent.io/weights";
/// How long the share of a new endpoint grows.
pub const SLOW_START: &str = "lb-agent.io/slow-start";
/// Chooses whom the backends of one Service see.
pub const FORWARDING: &str = "lb-agent.io/forwarding";
/// Whether backends whose handshakes fail are left out for a while.
pub const PASSIVE_HEALTH: &str = "lb-agent.io/passive-health";
/// Prefix of our annotations.
const PREFIX: &str = "lb-agent.io/";
/// Every annotation of a Service that is read.
const ANNOTATIONS: &[&str] = &[
    SCHEDULER,
    PASSIVE_HEALTH,
    REMOVAL,
    WEIGHTS,
    SLOW_START,
    FORWARDING,
];

pub(super) fn unknown(object: &api::Service, problems: &mut Vec<String>) {
    let names = object
        .metadata
        .annotations
        .iter()
        .flat_map(|all| all.keys());
    for name in names.filter(|n| n.starts_with(PREFIX) && !ANNOTATIONS.contains(&n.as_str())) {
        let known = ANNOTATIONS.join(", ");
        problems.push(format!(
            "annotation {name} is unknown: it changes nothing (known: {known})"
        ));
    }
}

fn annotation<'a>(object: &'a api::Service, name: &str) -> Option<&'a str> {
    let annotations = object.metadata.annotations.as_ref()?;
    annotations.get(name).map(String::as_str)
}

pub(super) fn passive_health(
    object: &api::Service,
    problems: &mut Vec<String>,
) -> Option<PassiveHealth> {
    let text = annotation(object, PASSIVE_HEALTH)?;
    let found = PassiveHealth::parse(text);
    if found.is_none() {
        problems.push(format!(
            "annotation {PASSIVE_HEALTH}: {text:?} is neither on nor off: the agent's default is used"
        ));
    }
    found
}

pub(super) fn removal(object: &api::Service, problems: &mut Vec<String>) -> Option<Removal> {
    let text = annotation(object, REMOVAL)?;
    let found = Removal::parse(text);
    if found.is_none() {
        let forms = Removal::FORMS;
        problems.push(format!(
            "annotation {REMOVAL}: {text:?} is none of {forms}: the agent's default is used"
        ));
    }
    found
}

pub(super) fn scheduler(object: &api::Service, problems: &mut Vec<String>) -> Option<Scheduler> {
    let name = annotation(object, SCHEDULER)?;
    let found = Scheduler::parse(name.trim());
    if found.is_none() {
        let known = Scheduler::names();
        problems.push(format!(
            "annotation {SCHEDULER}: {name:?} is none of {known}: the agent's default is used"
        ));
    }
    found
}

pub(super) fn weights(object: &api::Service, problems: &mut Vec<String>) -> Weights {
    let Some(text) = annotation(object, WEIGHTS) else {
        return Weights::default();
    };
    let (weights, wrong) = Weights::parse(text);
    let wrong = wrong.into_iter();
    problems.extend(wrong.map(|problem| format!("annotation {WEIGHTS}: {problem}")));
    weights
}

pub(super) fn slow_start(object: &api::Service, problems: &mut Vec<String>) -> Option<SlowStart> {
    let text = annotation(object, SLOW_START)?;
    let found = SlowStart::parse(text);
    if found.is_none() {
        let forms = SlowStart::FORMS;
        problems.push(format!(
            "annotation {SLOW_START}: {text:?} is not {forms}: new endpoints have their whole share at once"
        ));
    }
    found
}

pub(super) fn forwarding(object: &api::Service, problems: &mut Vec<String>) -> Option<Forwarding> {
    let word = annotation(object, FORWARDING)?;
    let found = Forwarding::parse(word.trim());
    found
        .map_err(|why| {
            problems.push(format!(
                "annotation {FORWARDING}: {word:?}: {why}; the agent's default is used"
            ));
        })
        .ok()
}
