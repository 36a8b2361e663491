//! Which endpoints may be given new connections: readiness, the terminating fallback (KEP-1669),
//! hints (KEP-2433, KEP-3015) and local-only policies. kube-proxy's rules, as one pure function
//! with a table of cases.

use super::{desired::TrafficPolicy, endpoints::Candidate};

/// Where this node is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its name.
    pub node: &'a str,
    /// Its zone, if it has one.
    pub zone: Option<&'a str>,
}

/// The answer for a list of candidates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// One a candidate.
    pub eligible: Vec<bool>,
    /// One a candidate: it would be eligible without hints.
    pub outside: Vec<bool>,
    /// At least one endpoint somewhere could serve.
    pub any: bool,
}

/// What the hints of all ready endpoints amount to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hints {
    /// Not every ready endpoint has hints, or none names this node or zone.
    None,
    /// Every ready endpoint names nodes, at least one names ours.
    SameNode,
    /// Every ready endpoint names zones, at least one names ours.
    SameZone,
}

/// Why an endpoint may be given new connections, or not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// It is ready, and nothing narrows the choice.
    Ready,
    /// It is ready, and its hints name this node.
    SameNode,
    /// It is ready, and its hints name this node's zone.
    SameZone,
    /// It terminates and still serves, and no endpoint is ready.
    Terminating,
    /// Not: the policy is Local, and it runs on another node.
    NotLocal,
    /// Not: it is not ready.
    NotReady,
    /// Not: its weight is 0.
    WeighsNothing,
    /// Not: it terminates, and others are ready.
    Leaving,
    /// Not: every ready endpoint names nodes, and it does not name this one.
    OtherNode,
    /// Not: every ready endpoint names zones, and it does not name this one.
    OtherZone,
}

impl Rule {
    /// Does it admit?
    #[must_use]
    pub fn admits(self) -> bool {
        matches!(
            self,
            Self::Ready | Self::SameNode | Self::SameZone | Self::Terminating
        )
    }

    /// Does it keep out an endpoint for its hints alone?
    #[must_use]
    pub fn is_by_hints(self) -> bool {
        matches!(self, Self::OtherNode | Self::OtherZone)
    }
}

/// Chooses the ready endpoints that the hints admit; if there is none, those that serve while
/// terminating, whatever their hints. With a local policy: the same among the endpoints of this
/// node, without hints. An endpoint that weighs nothing counts as one that does not serve.
#[must_use]
pub fn choose(candidates: &[Candidate<'_>], policy: TrafficPolicy, place: Place<'_>) -> Chosen {
    let rules = rules(candidates, policy, place);
    Chosen {
        eligible: rules.iter().map(|rule| rule.admits()).collect(),
        outside: rules.iter().map(|rule| rule.is_by_hints()).collect(),
        any: candidates.iter().any(|c| is_ready(c) || drains(c)),
    }
}

/// The rule that decides about each candidate.
#[must_use]
pub fn rules(candidates: &[Candidate<'_>], policy: TrafficPolicy, place: Place<'_>) -> Vec<Rule> {
    let hints = match policy {
        TrafficPolicy::Cluster => hints(candidates, place),
        TrafficPolicy::Local => Hints::None,
    };
    let within = |c: &Candidate<'_>| policy == TrafficPolicy::Cluster || c.local;
    let of_ready = |c: &Candidate<'_>| match hints {
        _ if !within(c) => Rule::NotLocal,
        _ if !c.endpoint.ready && drains(c) => Rule::Leaving,
        _ if !c.endpoint.ready => Rule::NotReady,
        _ if c.weight == 0 => Rule::WeighsNothing,
        Hints::None => Rule::Ready,
        Hints::SameNode if admitted(c, hints, place) => Rule::SameNode,
        Hints::SameNode => Rule::OtherNode,
        Hints::SameZone if admitted(c, hints, place) => Rule::SameZone,
        Hints::SameZone => Rule::OtherZone,
    };
    let mut rules: Vec<Rule> = candidates.iter().map(of_ready).collect();
    if !rules.iter().any(|rule| rule.admits()) {
        for (rule, c) in rules.iter_mut().zip(candidates) {
            if within(c) && drains(c) {
                *rule = Rule::Terminating;
            }
        }
    }
    rules
}

/// It terminates, and still serves.
fn drains(c: &Candidate<'_>) -> bool {
    c.endpoint.serving && c.endpoint.terminating && c.weight > 0
}

/// May it be given new connections, as far as it knows itself?
fn is_ready(c: &Candidate<'_>) -> bool {
    c.endpoint.ready && c.weight > 0
}

fn hints(candidates: &[Candidate<'_>], place: Place<'_>) -> Hints {
    let (mut all_nodes, mut our_node, mut all_zones, mut our_zone) = (true, false, true, false);
    for e in candidates
        .iter()
        .filter(|c| is_ready(c))
        .map(|c| c.endpoint)
    {
        all_nodes &= !e.hint_nodes().is_empty();
        our_node |= e.hint_nodes().iter().any(|n| **n == *place.node);
        all_zones &= !e.hint_zones().is_empty();
        our_zone |= e.hint_zones().iter().any(|z| Some(&**z) == place.zone);
    }
    if all_nodes && our_node {
        Hints::SameNode
    } else if all_zones && our_zone {
        Hints::SameZone
    } else {
        Hints::None
    }
}

fn admitted(c: &Candidate<'_>, hints: Hints, place: Place<'_>) -> bool {
    match hints {
        Hints::None => true,
        Hints::SameNode => c.endpoint.hint_nodes().iter().any(|n| **n == *place.node),
        Hints::SameZone => {
            let mut zones = c.endpoint.hint_zones().iter();
            zones.any(|z| Some(&**z) == place.zone)
        }
    }
}

#[cfg(test)]
mod tests;
