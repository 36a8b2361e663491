//! The table of cases.

use super::*;
use crate::model::Endpoint;

/// One endpoint in short: conditions (`r`eady, `d`raining: serving while terminating, `t`erminating
/// and not serving, `n`ot ready, `p`ublished though not serving), `@node`, then hints: `z:a,b`
/// zones, `h:n1` nodes, `w:0` for one that weighs nothing.
fn endpoint(text: &str) -> Endpoint {
    let mut words = text.split(' ');
    let (condition, node) = words.next().unwrap().split_once('@').unwrap();
    let (ready, serving, terminating) = match condition {
        "r" => (true, true, false),
        "d" => (false, true, true),
        "t" => (false, false, true),
        "n" => (false, false, false),
        "p" => (true, false, true),
        "rd" => (true, true, true),
        other => panic!("{other}"),
    };
    let mut e = Endpoint {
        ready,
        serving,
        terminating,
        node: (!node.is_empty()).then(|| node.into()),
        ..Endpoint::ready("10.0.0.1")
    };
    for word in words {
        let (kind, names) = word.split_once(':').unwrap();
        let names = names.split(',').map(Into::into).collect();
        match kind {
            "z" => e.hints.get_or_insert_default().zones = names,
            "h" => e.hints.get_or_insert_default().nodes = names,
            // Weighs nothing.
            "w" => e.pod = Some(text.into()),
            other => panic!("{other}"),
        }
    }
    e
}

struct Case {
    name: &'static str,
    endpoints: &'static [&'static str],
    zone: Option<&'static str>,
    /// Which are eligible, as digits.
    cluster: &'static str,
    local: &'static str,
    any: bool,
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "none", endpoints: &[], zone: None, cluster: "", local: "", any: false },
    Case { name: "ready ones", endpoints: &["r@me", "r@you"], zone: None, cluster: "01", local: "0", any: true },
    Case { name: "not ready ones get nothing", endpoints: &["n@me", "r@you"], zone: None, cluster: "1", local: "", any: true },
    Case { name: "none is ready", endpoints: &["n@me", "t@you"], zone: None, cluster: "", local: "", any: false },
    Case { name: "without a node none is local", endpoints: &["r@"], zone: None, cluster: "0", local: "", any: true },
    Case { name: "draining waits while one is ready", endpoints: &["d@me", "r@me"], zone: None, cluster: "1", local: "1", any: true },
    Case { name: "draining serves when none is ready", endpoints: &["d@me", "t@me", "d@you", "n@me"], zone: None, cluster: "02", local: "0", any: true },
    Case { name: "local draining while others are ready elsewhere", endpoints: &["d@me", "r@you"], zone: None, cluster: "1", local: "0", any: true },
    Case { name: "ready while terminating is ready", endpoints: &["rd@me", "r@you"], zone: None, cluster: "01", local: "0", any: true },
    Case { name: "published though not serving", endpoints: &["p@me"], zone: None, cluster: "0", local: "0", any: true },
    Case { name: "our zone", endpoints: &["r@me z:b", "r@you z:a", "r@you z:b,a"], zone: Some("a"), cluster: "12", local: "0", any: true },
    Case { name: "no zone", endpoints: &["r@me z:b", "r@you z:a"], zone: None, cluster: "01", local: "0", any: true },
    Case { name: "no hint is for our zone", endpoints: &["r@me z:b", "r@you z:c"], zone: Some("a"), cluster: "01", local: "0", any: true },
    Case { name: "one has no hint", endpoints: &["r@me z:a", "r@you z:b", "r@you"], zone: Some("a"), cluster: "012", local: "0", any: true },
    Case { name: "hints of those not ready do not count", endpoints: &["r@me z:a", "r@you z:b", "n@you", "d@you"], zone: Some("a"), cluster: "0", local: "0", any: true },
    Case { name: "only one that is not ready hints at us", endpoints: &["n@me z:a", "r@you z:b"], zone: Some("a"), cluster: "1", local: "", any: true },
    Case { name: "our node", endpoints: &["r@me h:me z:a", "r@you h:you z:a"], zone: Some("a"), cluster: "0", local: "0", any: true },
    Case { name: "our node without a zone", endpoints: &["r@me h:me", "r@you h:you"], zone: None, cluster: "0", local: "0", any: true },
    Case { name: "no hint is for our node: zones", endpoints: &["r@you h:you z:a", "r@she h:she z:b"], zone: Some("a"), cluster: "0", local: "", any: true },
    Case { name: "one has no node hint: zones", endpoints: &["r@me h:me z:b", "r@she z:a"], zone: Some("a"), cluster: "1", local: "0", any: true },
    Case { name: "a node hint for an endpoint elsewhere", endpoints: &["r@you h:me", "r@she h:she"], zone: None, cluster: "0", local: "", any: true },
    Case { name: "the fallback asks no hints", endpoints: &["d@me z:b", "d@you z:a"], zone: Some("a"), cluster: "01", local: "0", any: true },
    Case { name: "draining with a hint for us does not beat ready ones", endpoints: &["d@me z:a", "r@you z:b"], zone: Some("a"), cluster: "1", local: "0", any: true },
    Case { name: "a local one that fails its probe while it terminates", endpoints: &["t@me", "r@you"], zone: None, cluster: "1", local: "", any: true },
    Case { name: "draining elsewhere alone", endpoints: &["d@you"], zone: None, cluster: "0", local: "", any: true },
    Case { name: "draining here, not ready elsewhere", endpoints: &["d@me", "n@you", "t@you"], zone: None, cluster: "0", local: "0", any: true },
    Case { name: "not ready here, draining elsewhere", endpoints: &["n@me", "d@you"], zone: None, cluster: "1", local: "", any: true },
    Case { name: "ready here, draining elsewhere", endpoints: &["r@me", "d@you"], zone: None, cluster: "0", local: "0", any: true },
    Case { name: "published though it terminates and fails its probe, beside a ready one", endpoints: &["p@me", "r@you"], zone: None, cluster: "01", local: "0", any: true },
    Case { name: "hints of one that is ready while it terminates count", endpoints: &["rd@me z:a", "r@you z:b"], zone: Some("a"), cluster: "0", local: "0", any: true },
    Case { name: "its silence counts too", endpoints: &["rd@me", "r@you z:a"], zone: Some("a"), cluster: "01", local: "0", any: true },
    Case { name: "every endpoint is for our zone", endpoints: &["r@me z:a", "r@you z:a"], zone: Some("a"), cluster: "01", local: "0", any: true },
    Case { name: "one endpoint for every zone", endpoints: &["r@you z:a,b,c"], zone: Some("c"), cluster: "0", local: "", any: true },
    Case { name: "a hint names two nodes", endpoints: &["r@you h:you,me", "r@she h:she"], zone: None, cluster: "0", local: "", any: true },
    Case { name: "node hints on some, zone hints on the others", endpoints: &["r@me h:me", "r@you z:a"], zone: Some("a"), cluster: "01", local: "0", any: true },
    Case { name: "only one that drains has a node hint for us", endpoints: &["d@me h:me", "r@you h:you"], zone: None, cluster: "1", local: "0", any: true },
    Case { name: "only one that is not ready has a node hint for us: zones", endpoints: &["n@me h:me z:a", "r@you h:you z:a", "r@she h:she z:b"], zone: Some("a"), cluster: "1", local: "", any: true },
    Case { name: "node hints for others, zone hints incomplete", endpoints: &["r@you h:you z:a", "r@she h:she"], zone: Some("a"), cluster: "01", local: "", any: true },
    Case { name: "node hints for others, no hint for our zone", endpoints: &["r@you h:you z:b", "r@she h:she z:c"], zone: Some("a"), cluster: "01", local: "", any: true },
    Case { name: "our node's endpoint is hinted elsewhere", endpoints: &["r@me h:you", "r@you h:you"], zone: None, cluster: "01", local: "0", any: true },
    Case { name: "one that weighs nothing gets nothing", endpoints: &["r@me w:0", "r@you"], zone: None, cluster: "1", local: "", any: true },
    Case { name: "all weigh nothing", endpoints: &["r@me w:0", "d@you w:0"], zone: None, cluster: "", local: "", any: false },
    Case { name: "draining serves when those that are ready weigh nothing", endpoints: &["r@me w:0", "d@me"], zone: None, cluster: "1", local: "1", any: true },
    Case { name: "our zone weighs nothing: others serve it", endpoints: &["r@me z:a w:0", "r@you z:b", "r@she z:c"], zone: Some("a"), cluster: "12", local: "", any: true },
    Case { name: "hints of those that weigh nothing do not count", endpoints: &["r@me z:a", "r@you z:b", "r@she w:0"], zone: Some("a"), cluster: "0", local: "0", any: true },
    Case { name: "none is ready: hints are not asked", endpoints: &["d@me h:you z:b", "d@you h:me z:a", "t@me h:me z:a"], zone: Some("a"), cluster: "01", local: "0", any: true },
];

#[test]
fn every_case() {
    for case in CASES {
        let endpoints: Vec<Endpoint> = case.endpoints.iter().map(|e| endpoint(e)).collect();
        let candidates: Vec<Candidate<'_>> = endpoints
            .iter()
            .map(|endpoint| Candidate {
                addr: endpoint.addr.into(),
                port: 80,
                local: endpoint.node.as_deref() == Some("me"),
                weight: if endpoint.pod.is_some() { 0 } else { 100 },
                endpoint,
            })
            .collect();
        let place = Place {
            node: "me",
            zone: case.zone,
        };
        for (policy, wanted) in [
            (TrafficPolicy::Cluster, case.cluster),
            (TrafficPolicy::Local, case.local),
        ] {
            let Chosen {
                eligible,
                outside,
                any,
            } = choose(&candidates, policy, place);
            let both = eligible.iter().zip(&outside).any(|(a, b)| *a && *b);
            let hinted = policy == TrafficPolicy::Cluster && eligible.contains(&true);
            assert!(
                !both && (hinted || !outside.contains(&true)),
                "{}",
                case.name
            );
            let found: String = (0..eligible.len())
                .filter(|n| eligible[*n])
                .map(|n| n.to_string())
                .collect();
            assert_eq!(
                (found.as_str(), any),
                (wanted, case.any),
                "{}: {policy:?}",
                case.name
            );
        }
    }
}
