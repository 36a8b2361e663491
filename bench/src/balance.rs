//! The suite `balance`: how evenly every scheduler chooses, through the real kernel, on the socket
//! path and on the packet path. Owns the services and the tests of their shares.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::{Context as _, Result};
use lb_common::scheduler::Scheduler;
use serde_json::{Value, json};
use testbed::{agent::Start, cluster::Cluster, manifest, node::Node};

use crate::{
    bar::Bar,
    bulk::NAMESPACE,
    chi::evenness,
    client::Client,
    header::Header,
    packet::balance::Ways,
    progress::say,
    report::{Report, Table, add},
    services::udp_slice,
    stats::Spread,
    wire::Where,
};

/// How many backends.
const SIZES: [u32; 6] = [2, 3, 7, 10, 100, 1000];
/// The port of every VIP, the first node port, and the first that backends listen on.
const PORT: u16 = 80;
const FIRST_PORT: u16 = 30_000;
const FIRST_TARGET: u16 = 8000;
/// Outside of it, chance is no explanation for a share, in one try of five hundred.
const CHANCE: std::ops::RangeInclusive<f64> = 0.001..=0.999;

/// One service.
#[derive(Debug, Clone, Copy)]
struct Case {
    number: u16,
    scheduler: Scheduler,
    size: u32,
}

impl Case {
    fn all() -> impl Iterator<Item = Self> {
        let each = Scheduler::ALL
            .iter()
            .flat_map(|scheduler| SIZES.iter().map(move |size| (*scheduler, *size)));
        (0..).zip(each).map(|(number, (scheduler, size))| Self {
            number,
            scheduler,
            size,
        })
    }

    fn vip(self) -> SocketAddr {
        let [high, low] = self.number.to_be_bytes();
        (Ipv4Addr::new(10, 96, 1 + high, low), PORT).into()
    }

    fn node_port(self) -> u16 {
        FIRST_PORT + self.number
    }

    /// Another one for each: connections are counted by address and port of a backend, and those of
    /// the cases before still count.
    fn target(self) -> u16 {
        FIRST_TARGET + self.number
    }

    fn objects(self, node: &str) -> [Value; 2] {
        let Self {
            number,
            scheduler,
            size,
        } = self;
        let name = format!("s{number}");
        let vip = self.vip().ip();
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "annotations": {"lb-agent.io/scheduler": scheduler.name()},
            },
            "spec": {
                "type": "NodePort",
                "clusterIP": vip,
                "clusterIPs": [vip],
                "ipFamilies": ["IPv4"],
                "ports": [{
                    "name": "udp",
                    "protocol": "UDP",
                    "port": PORT,
                    "targetPort": self.target(),
                    "nodePort": self.node_port(),
                }],
            },
        });
        let endpoints: Vec<Value> = (0..size)
            .map(|k| {
                json!({
                    "addresses": [Ways::backend(k)],
                    "conditions": {"ready": true},
                    "nodeName": node,
                })
            })
            .collect();
        let slice = udp_slice(NAMESPACE, &name, self.target(), &endpoints);
        [service, slice]
    }
}

/// What was found of a way of one service.
struct Found {
    case: Case,
    way: &'static str,
    picks: u64,
    least: u64,
    most: u64,
    /// How it is judged, and how that came out.
    verdict: String,
    fair: bool,
}

/// Builds it all, measures, removes it all.
pub(crate) fn run(quick: bool, _rounds: usize) -> Result<Report> {
    let header = Header::look()?;
    let cluster = Cluster::start()?;
    let ways = Ways::new(&cluster, SIZES.into_iter().max().unwrap_or_default())?;
    ours(ways.node())?;
    let mut client = Client::start()?;
    let picks = if quick { 20_000 } else { 200_000 };
    let mut all = Vec::new();
    for case in Case::all() {
        say(format_args!(
            "balance: {} of {}",
            case.scheduler.name(),
            case.size
        ));
        all.push(judged(case, "socket", || {
            by_socket(&mut client, &ways, case, picks)
        })?);
        all.push(judged(case, "packet", || {
            by_packet(&mut client, &ways, case, picks)
        })?);
    }
    let unfair = all.iter().filter(|found| !found.fair).count();
    let unfair = f64::from(u32::try_from(unfair).unwrap_or(u32::MAX));
    Ok(Report {
        suite: "balance",
        quick,
        header,
        bars: vec![Bar::at_most(
            "shares that chance does not explain",
            Spread::of(&[unfair]),
            0.0,
        )],
        parts: Vec::new(),
        tables: vec![table(&all)],
        notes: vec![
            "p: how likely chance alone is at least as uneven (chi-squared); a value outside of 0.001 to 0.999 is drawn once more".to_owned(),
            "on the packet path `random` is a function of the five-tuple, every packet one of its own; `sh` is asked by 65,536 clients there, and by one on the socket path, where a client is a network namespace".to_owned(),
        ],
    })
}

fn ours(node: &Node) -> Result<()> {
    node.write_manifest("node.yaml", &manifest::node(node))?;
    let mut text = String::new();
    for object in Case::all().flat_map(|case| case.objects(node.name())) {
        add(&mut text, format_args!("{object}\n---\n"));
    }
    node.write_manifest("services.yaml", &text)?;
    let mut agent = Start::new().on(node)?;
    agent.quiet();
    agent.stop().map(drop)
}

/// By `connect()` of one UDP socket after the other.
fn by_socket(client: &mut Client, ways: &Ways, case: Case, picks: u32) -> Result<Vec<u64>> {
    let node = ways.node();
    let place = Where {
        netns: node.netns().path(),
        cgroup: node.cgroup().path().to_owned(),
    };
    let chosen: BTreeMap<SocketAddr, u64> = client
        .picks(&place, case.vip(), picks)?
        .into_iter()
        .collect();
    let of = |k| {
        let backend = SocketAddr::from((Ways::backend(k), case.target()));
        chosen.get(&backend).copied().unwrap_or(0)
    };
    let counts: Vec<u64> = (0..case.size).map(of).collect();
    let sum: u64 = counts.iter().sum();
    anyhow::ensure!(sum == u64::from(picks), "{sum} of {picks} went to backends");
    Ok(counts)
}

/// By packets of as many flows; of `sh` by as many clients as there are.
fn by_packet(client: &mut Client, ways: &Ways, case: Case, picks: u32) -> Result<Vec<u64>> {
    let by_client = case.scheduler == Scheduler::SourceHash;
    ways.picks(client, case.node_port(), by_client, picks, case.size)
}

/// A scheduler's own promise.
fn judged(
    case: Case,
    way: &'static str,
    mut draw: impl FnMut() -> Result<Vec<u64>>,
) -> Result<Found> {
    let mut judge = || -> Result<Found> {
        let counts = draw().with_context(|| format!("{case:?} by {way}"))?;
        let (least, most) = (
            counts.iter().min().copied().unwrap_or(0),
            counts.iter().max().copied().unwrap_or(0),
        );
        let (verdict, fair) = match (case.scheduler, way) {
            (Scheduler::RoundRobin | Scheduler::WeightedRoundRobin, _) => {
                ("at most one apart".to_owned(), most - least <= 1)
            }
            (
                Scheduler::LeastConnections
                | Scheduler::WeightedLeastConnections
                | Scheduler::TwoChoices,
                _,
            ) => {
                let p = evenness(&counts);
                (format!("p {p:.5} or more even"), p >= *CHANCE.start())
            }
            (Scheduler::SourceHash, "socket") => {
                let chosen = counts.iter().filter(|count| **count > 0).count();
                ("one client, one backend".to_owned(), chosen == 1)
            }
            _ => {
                let p = evenness(&counts);
                (format!("p {p:.5}"), CHANCE.contains(&p))
            }
        };
        Ok(Found {
            case,
            way,
            picks: counts.iter().sum(),
            least,
            most,
            verdict,
            fair,
        })
    };
    let first = judge()?;
    if first.fair {
        return Ok(first);
    }
    judge()
}

fn table(all: &[Found]) -> Table {
    let lines = all.iter().map(|found| {
        let Found {
            case,
            way,
            picks,
            least,
            most,
            verdict,
            fair,
        } = found;
        vec![
            case.scheduler.name().to_owned(),
            (*way).to_owned(),
            case.size.to_string(),
            picks.to_string(),
            least.to_string(),
            most.to_string(),
            verdict.clone(),
            if *fair { "even" } else { "**not even**" }.to_owned(),
        ]
    });
    Table {
        title: "Choices".to_owned(),
        head: vec![
            "scheduler",
            "path",
            "backends",
            "choices",
            "fewest",
            "most",
            "judged by",
            "",
        ],
        lines: lines.collect(),
    }
}
