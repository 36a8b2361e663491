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

/// Chooses the ready endpoints that the hints admit; if there is none, those that serve while
/// terminating, whatever their hints. With a local policy: the same among the endpoints of this
/// node, without hints.
#[must_use]
pub fn choose(candidates: &[Candidate<'_>], policy: TrafficPolicy, place: Place<'_>) -> Chosen {
    let draining = |c: &Candidate<'_>| c.endpoint.serving && c.endpoint.terminating;
    let any = candidates.iter().any(|c| c.endpoint.ready || draining(c));
    let hints = match policy {
        TrafficPolicy::Cluster => hints(candidates, place),
        TrafficPolicy::Local => Hints::None,
    };
    let within = |c: &Candidate<'_>| policy == TrafficPolicy::Cluster || c.local;
    let ready: Vec<bool> = candidates
        .iter()
        .map(|c| within(c) && c.endpoint.ready && admitted(c, hints, place))
        .collect();
    let eligible = if ready.contains(&true) {
        ready
    } else {
        candidates
            .iter()
            .map(|c| within(c) && draining(c))
            .collect()
    };
    Chosen { eligible, any }
}

fn hints(candidates: &[Candidate<'_>], place: Place<'_>) -> Hints {
    let (mut all_nodes, mut our_node, mut all_zones, mut our_zone) = (true, false, true, false);
    for e in candidates.iter().map(|c| c.endpoint).filter(|e| e.ready) {
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
