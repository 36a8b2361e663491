//! The suite `sync`: from the API server into the kernel. How long a start takes, cold and warm,
//! how soon a change is seen by a client, what it costs, beside a client that only listens and
//! beside kube-proxy. Owns the rows and the bars.

mod map;
mod phases;
mod plain;

use std::collections::BTreeSet;

use anyhow::Result;

use self::phases::{Extent, PATIENCE, Phases, control};
use crate::{
    bar::{Bar, Of},
    client::Client,
    frame::{self, Metric, Plan, Step},
    header::Header,
    peer::{Home, Kind},
    progress::say,
    report::{Over, Part, Report, Table, number},
    samples::Samples,
    stats::{Spread, quantile},
    world::{Shape, World},
};

/// What a round tells of a row, in this order.
const METRICS: &[Metric] = &[
    metric(COLD, "s"),
    metric(COLD_CPU, "s"),
    metric("cold start, writing by its own account", "s"),
    metric("cold start, elements written", "n"),
    metric("cold start, system calls for it", "n"),
    metric(WARM, "s"),
    metric("warm start, CPU", "s"),
    metric(WARM_WRITES, "n"),
    metric("a change in the map p50", "ms"),
    metric(SEEN, "ms"),
    metric(SEEN_P99, "ms"),
    metric("a change, elements written", "n"),
    metric("a change, system calls for it", "n"),
    metric("rolling update, behind the last write", "ms"),
    metric("rolling update, CPU", "s"),
    metric("rolling update, elements written", "n"),
    metric("5,000 endpoints added, behind the last write", "ms"),
    metric("5,000 endpoints added, CPU", "s"),
    metric("one of 5,000 changed, behind the write", "ms"),
    metric("one of 5,000 changed, elements written", "n"),
];
const COLD: &str = "cold start";
const COLD_CPU: &str = "cold start, CPU";
const WARM: &str = "warm start";
const WARM_WRITES: &str = "warm start, elements written";
const SEEN: &str = "a change seen p50";
const SEEN_P99: &str = "a change seen p99";

const fn metric(name: &'static str, unit: &'static str) -> Metric {
    Metric { name, unit }
}

/// The control: no balancer can learn of a change before this client does.
const PLAIN: &str = "a client that only lists and watches";
/// A scale, and how much time its peers get.
struct Scale {
    shape: Shape,
    peers: &'static [Peer],
    rounds: usize,
    /// What our agent does.
    extent: Extent,
}

/// kube-proxy at a scale.
#[derive(Debug, Clone, Copy)]
struct Peer {
    mode: &'static str,
    /// In how many rounds it is tried.
    rounds: usize,
    extent: Extent,
}

/// By row, the milliseconds of every change.
type Changes = Vec<(String, Vec<f64>)>;

/// Builds it all, measures, removes it all.
pub(crate) fn run(quick: bool, rounds: usize) -> Result<Report> {
    let header = Header::look()?;
    let mut parts = Vec::new();
    let mut bars = Vec::new();
    let mut lines = Vec::new();
    for scale in scales(quick, rounds) {
        let (samples, changes) = one(&scale)?;
        bars.extend(scale_bars(&samples, &changes, scale.shape));
        for (name, millis) in &changes {
            let p = |q| quantile(millis, q).map_or_else(String::new, number);
            lines.push(vec![
                scale.shape.says(),
                name.clone(),
                millis.len().to_string(),
                p(0.5),
                p(0.9),
                p(0.99),
                p(1.0),
            ]);
        }
        parts.push(Part {
            title: scale.shape.says(),
            over: Some(Over::row(&samples, 1)),
            samples,
            charts: vec![COLD, SEEN],
        });
    }
    Ok(Report {
        suite: "sync",
        quick,
        header,
        bars,
        parts,
        tables: vec![Table {
            title: "One endpoint changed: ms from the write to the API server until a client reaches the new one, all rounds"
                .to_owned(),
            head: vec!["scale", "row", "changes", "p50", "p90", "p99", "most"],
            lines,
        }],
        notes: vec![
            "one balancer at a time runs beside the API server, on the same CPUs as that".to_owned(),
            "clients look every 0.2 ms, maps are looked at every 0.05 ms".to_owned(),
            format!(
                "a start that takes longer than {} s is given up: `≥` says that it would have taken more",
                PATIENCE.as_secs()
            ),
        ],
    })
}

/// Rounds that are run in place of those that do not count: one takes most of a minute.
const MORE: usize = 1;
/// Rounds at the smallest scale, and at the others.
const FIVE: usize = 5;
const FEW: usize = 3;

const fn peer(mode: &'static str, rounds: usize, extent: Extent) -> Peer {
    Peer {
        mode,
        rounds,
        extent,
    }
}

/// Where both modes have a first sync in seconds.
const BOTH: &[Peer] = &[
    peer("nftables", 2, Extent::Large),
    peer("iptables", 1, Extent::Large),
];
/// The rules of iptables took more than four minutes.
const ONE: &[Peer] = &[peer("nftables", 1, Extent::Usual)];
/// Its warm start alone takes more than a minute.
const COLD_ONE: &[Peer] = &[peer("nftables", 1, Extent::Cold)];

fn scales(quick: bool, rounds: usize) -> Vec<Scale> {
    let scale = |services, endpoints, peers, most, extent| Scale {
        shape: Shape {
            services,
            endpoints,
        },
        peers,
        rounds: rounds.min(most),
        extent,
    };
    if quick {
        const PEERS: &[Peer] = &[
            peer("nftables", 1, Extent::Usual),
            peer("iptables", 1, Extent::Cold),
        ];
        return vec![scale(200, 4, PEERS, rounds, Extent::Usual)];
    }
    vec![
        scale(1000, 4, BOTH, FIVE, Extent::Large),
        scale(10_000, 4, ONE, FEW, Extent::Usual),
        scale(5000, 50, COLD_ONE, FEW, Extent::Usual),
        scale(50_000, 2, &[], FEW, Extent::Usual),
    ]
}

/// One round after the other at one scale; each change's milliseconds, by row.
fn one(scale: &Scale) -> Result<(Samples, Changes)> {
    let says = scale.shape.says();
    say(format_args!("sync: writing {says}"));
    let world = World::new(scale.shape)?;
    say(format_args!("sync: {says} are written"));
    let mut client = Client::start_unhurried()?;
    let mut kinds = vec![(Kind::Ours, usize::MAX, scale.extent)];
    let peers = scale.peers.iter();
    kinds.extend(peers.map(|peer| (Kind::KubeProxy(peer.mode), peer.rounds, peer.extent)));
    let names = kinds.iter().map(|(kind, _, _)| kind.name());
    let rows: Vec<String> = std::iter::once(PLAIN.to_owned()).chain(names).collect();
    let plan = Plan {
        suite: "sync",
        rows: rows.clone(),
        steps: &[Step::new(METRICS)],
        control: Some(0),
        rounds: scale.rounds,
        most: scale.rounds + MORE,
        blocks: 1,
    };
    let mut changes: Changes = rows.into_iter().map(|name| (name, Vec::new())).collect();
    let mut given_up = BTreeSet::new();
    let mut number = 0;
    let mut samples = frame::run(&plan, |turn| {
        let mut seen = Vec::new();
        let values = match turn.row.checked_sub(1).map(|peer| kinds[peer]) {
            None => Some(control(&world, &mut seen)?),
            Some((_, rounds, _)) if turn.round >= rounds => None,
            Some((kind, _, extent)) => {
                number += 1;
                let (cluster, ground) = (&world.cluster, &world.ground);
                let home = Home::new(cluster, ground, number, kind, scale.shape.services)?;
                let mut phases = Phases {
                    world: &world,
                    client: &mut client,
                    home: &home,
                    extent,
                };
                let done = phases.all(&mut seen)?;
                given_up.extend(done.given_up.map(|name| (turn.row, name)));
                Some(done.values)
            }
        };
        changes[turn.row].1.extend(seen);
        Ok(values)
    })?;
    for (row, name) in given_up {
        if let Some(metric) = samples.metric(name) {
            samples.is_at_least(row, metric);
        }
    }
    Ok((samples, changes))
}

fn scale_bars(samples: &Samples, changes: &[(String, Vec<f64>)], shape: Shape) -> Vec<Bar> {
    let services = shape.services;
    let says = shape.says();
    let value = |name: &str| samples.spread(1, samples.metric(name)?);
    let mut bars = vec![Bar::at_most(
        format!("warm start writes nothing, elements ({says})"),
        value(WARM_WRITES),
        0.0,
    )];
    let p99 = |row: usize| quantile(&changes.get(row)?.1, 0.99);
    let (plain, ours) = (p99(0), p99(1));
    let less = plain.zip(ours).map(|(plain, ours)| ours - plain);
    for (words, value) in [
        ("one endpoint changed, seen by a client, p99, ms", ours),
        ("the same, less what a client takes that only watches", less),
    ] {
        let found = value.and_then(|value| Spread::of(&[value]));
        bars.push(Bar::at_most(format!("{words} ({says})"), found, 5.0));
    }
    if services == 5000 {
        let says = format!("cold start, the agent's CPU time, s ({says})");
        bars.push(Bar::at_most(says, value(COLD_CPU), 2.0));
    }
    // At the largest scale kube-proxy is not measured.
    if samples.row("kube-proxy nftables").is_some() && services >= 1000 {
        let says = format!("cold start, kube-proxy nftables over lb-agent ({says})");
        let of = Of::new(samples, COLD, "kube-proxy nftables", "lb-agent");
        bars.push(Bar::at_least_times(says, of, 10.0));
    }
    bars
}
