//! A Service's annotations. Each bad value is a problem that names the annotation and what holds.

use std::num::NonZeroU32;

use k8s_openapi::api::core::v1 as api;

use crate::model::{
    Forwarding, MaxAge, PassiveHealth, Removal, Scheduler, SlowStart, Spill, Weights,
};

/// Chooses the scheduler of one Service.
pub const SCHEDULER: &str = "lb-agent.io/scheduler";
/// What becomes of connections whose backend leaves the Service.
pub const REMOVAL: &str = "lb-agent.io/on-backend-removal";
/// Weights of its endpoints, by zone, node and pod.
pub const WEIGHTS: &str = "lb-agent.io/weights";
/// How long the share of a new endpoint grows.
pub const SLOW_START: &str = "lb-agent.io/slow-start";
/// How many open connections of this node's clients each backend may have.
pub const MAX_CONNECTIONS: &str = "lb-agent.io/max-connections";
/// How old TCP connections may become.
pub const MAX_AGE: &str = "lb-agent.io/max-connection-age";
/// When connections leave the endpoints that topology hints prefer.
pub const SPILL: &str = "lb-agent.io/spill";
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
    MAX_CONNECTIONS,
    MAX_AGE,
    SPILL,
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

/// The value of an annotation, or a problem that ends with what `parse` says against it.
fn read<T>(
    object: &api::Service,
    name: &str,
    problems: &mut Vec<String>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let text = annotation(object, name)?;
    parse(text)
        .map_err(|why| problems.push(format!("annotation {name}: {text:?}{why}")))
        .ok()
}

pub(super) fn passive_health(
    object: &api::Service,
    problems: &mut Vec<String>,
) -> Option<PassiveHealth> {
    read(object, PASSIVE_HEALTH, problems, |text| {
        let wrong = || " is neither on nor off: the agent's default is used".to_owned();
        PassiveHealth::parse(text).ok_or_else(wrong)
    })
}

pub(super) fn removal(object: &api::Service, problems: &mut Vec<String>) -> Option<Removal> {
    read(object, REMOVAL, problems, |text| {
        Removal::parse(text).ok_or_else(|| none_of(Removal::FORMS))
    })
}

pub(super) fn scheduler(object: &api::Service, problems: &mut Vec<String>) -> Option<Scheduler> {
    read(object, SCHEDULER, problems, |text| {
        Scheduler::parse(text.trim()).ok_or_else(|| none_of(&Scheduler::names()))
    })
}

fn none_of(forms: &str) -> String {
    format!(" is none of {forms}: the agent's default is used")
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
    read(object, SLOW_START, problems, |text| {
        let forms = SlowStart::FORMS;
        let wrong = || format!(" is not {forms}: new endpoints have their whole share at once");
        SlowStart::parse(text).ok_or_else(wrong)
    })
}

pub(super) fn max_connections(
    object: &api::Service,
    problems: &mut Vec<String>,
) -> Option<NonZeroU32> {
    read(object, MAX_CONNECTIONS, problems, |text| {
        let most = text.trim().parse::<NonZeroU32>();
        most.map_err(|_| " is no whole number above 0: backends get any number".to_owned())
    })
}

pub(super) fn max_age(object: &api::Service, problems: &mut Vec<String>) -> Option<MaxAge> {
    read(object, MAX_AGE, problems, |text| {
        let forms = MaxAge::FORMS;
        MaxAge::parse(text).ok_or_else(|| format!(" is not {forms}: connections may be of any age"))
    })
}

pub(super) fn spill(object: &api::Service, problems: &mut Vec<String>) -> Option<Spill> {
    read(object, SPILL, problems, |text| {
        let forms = Spill::FORMS;
        let wrong = || format!(" is not {forms}: connections stay where topology hints want them");
        Spill::parse(text).ok_or_else(wrong)
    })
}

pub(super) fn forwarding(object: &api::Service, problems: &mut Vec<String>) -> Option<Forwarding> {
    read(object, FORWARDING, problems, |text| {
        let wrong = |why| format!(": {why}; the agent's default is used");
        Forwarding::parse(text.trim()).map_err(wrong)
    })
}
