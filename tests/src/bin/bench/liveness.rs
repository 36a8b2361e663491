//! The suite `liveness`: connections that fail, or are slow, while the balancer is killed, replaced, and told of a thousand
//! changed endpoints a second. Owns the rows and the bars.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use lb_tests::cluster::objects::node_port;
use lb_tests::lan;
use serde_json::json;

use crate::bar::Bar;
use crate::bulk::{self, NAMESPACE};
use crate::client::Client;
use crate::frame::{self, Metric, Plan, Samples, Step};
use crate::header::Header;
use crate::peer::{Home, Kind, Running};
use crate::report::{Part, Report};
use crate::services::{backend, endpoints_json, service_json, slice_json, vip};
use crate::stats::Spread;
use crate::wire::{Knocked, Where};
use crate::world::{Shape, World};

/// What happens, and what its columns are called.
const EVENTS: [(Event, &[Metric; 4]); 4] = [
    (
        Event::Nothing,
        &columns(
            "nothing: connections",
            "nothing: failed",
            "nothing: SYNs again",
            "nothing: kept ones broken",
        ),
    ),
    (
        Event::Kill,
        &columns(
            "kill -9: connections",
            "kill -9: failed",
            "kill -9: SYNs again",
            "kill -9: kept ones broken",
        ),
    ),
    (
        Event::Replace,
        &columns(
            "upgrade: connections",
            "upgrade: failed",
            "upgrade: SYNs again",
            "upgrade: kept ones broken",
        ),
    ),
    (
        Event::Changes,
        &columns(
            "1,000 changes/s: connections",
            "1,000 changes/s: failed",
            "1,000 changes/s: SYNs again",
            "1,000 changes/s: kept ones broken",
        ),
    ),
];

const fn columns(
    attempts: &'static str,
    failed: &'static str,
    retried: &'static str,
    broken: &'static str,
) -> [Metric; 4] {
    const fn n(name: &'static str) -> Metric {
        Metric { name, unit: "n" }
    }
    [n(attempts), n(failed), n(retried), n(broken)]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Nothing,
    /// kill -9; started again after a moment.
    Kill,
    /// Stopped and started, as by a new version.
    Replace,
    /// Half of a service's endpoints are replaced, again and again; each of them serves all the time.
    Changes,
}

/// Clients knock for so long around an event, of which the first part is before it.
const KNOCK: Duration = Duration::from_millis(2500);
const BEFORE: Duration = Duration::from_millis(300);
/// How long a killed one is dead.
const DEAD: Duration = Duration::from_millis(500);
/// A start is not a slow one.
const START: Duration = Duration::from_mins(1);
/// Endpoints of the service: so many are there, so many of them change at once, so often a second.
const ENDPOINTS: u32 = 100;
const CHANGED: u32 = 50;
const CHANGES: u32 = 20;
/// Its number.
const NUMBER: u32 = 64_000;
const NAME: &str = "web";
/// Behind those of all others.
const FIRST: u32 = 100_000;

struct Scene<'a> {
    world: &'a World,
    outside: lan::Client,
    node_port: u16,
    /// Inside of the node, outside of it.
    clients: [Client; 2],
}

/// Builds it all, measures, removes it all.
pub(crate) fn run(quick: bool, rounds: usize) -> Result<Report> {
    let header = Header::look()?;
    let world = World::new(Shape {
        services: if quick { 50 } else { 1000 },
        endpoints: 4,
    })?;
    let mut scene = Scene {
        node_port: web(&world)?,
        outside: world.cluster.outside(2)?,
        clients: [Client::start_unhurried()?, Client::start_unhurried()?],
        world: &world,
    };
    let kinds = [
        Kind::Ours,
        Kind::KubeProxy("nftables"),
        Kind::KubeProxy("iptables"),
    ];
    let homes: Vec<Home> = (1..)
        .zip(kinds)
        .map(|(number, kind)| {
            Home::new(
                &world.cluster,
                &world.ground,
                number,
                kind,
                world.shape.services,
            )
        })
        .collect::<Result<_>>()?;
    let plan = Plan {
        rows: kinds.map(Kind::name).to_vec(),
        steps: &EVENTS.map(|(_, metrics)| Step { metrics }),
        control: None,
        rounds,
        blocks: 1,
    };
    let samples = frame::run(
        &plan,
        |round| eprintln!("liveness: round {}", round + 1),
        |row, event| scene.during(&homes[row], EVENTS[event].0).map(Some),
    )?;
    Ok(Report {
        suite: "liveness",
        quick,
        header,
        bars: bars(&samples),
        parts: vec![Part {
            title: String::new(),
            over: None,
            samples,
            charts: Vec::new(),
        }],
        tables: Vec::new(),
        notes: vec![
            format!(
                "a client on the node knocks at a VIP, one outside at the node port, together, for {} s around each event",
                KNOCK.as_secs_f64()
            ),
            format!(
                "changes: {CHANGED} of {ENDPOINTS} endpoints of that very service, {CHANGES} times a second, all of which serve all the time"
            ),
        ],
    })
}

/// The service that is knocked at; its node port.
fn web(world: &World) -> Result<u16> {
    let api = world.cluster.client();
    let mut service = service_json(NAME, vip(NUMBER).ip());
    service["spec"]["type"] = "NodePort".into();
    bulk::create::<Service>(api, [service])?;
    bulk::create::<EndpointSlice>(api, [slice_json(NAME, "a", &addresses(0))])?;
    let service = api.get::<Service>(NAMESPACE, NAME)?;
    node_port(&service.context("the service is not there")?)
}

fn addresses(step: u32) -> Vec<std::net::IpAddr> {
    let first = FIRST + step * CHANGED;
    (first..first + ENDPOINTS)
        .map(|number| backend(number).ip())
        .collect()
}

impl Scene<'_> {
    fn during(&mut self, home: &Home, event: Event) -> Result<Vec<f64>> {
        let cluster = &self.world.cluster;
        let (running, _) = home
            .start(cluster, START)?
            .context("the balancer does not start")?;
        self.reach(home)?;
        let inside = home.place();
        let outside = Where {
            netns: self.outside.netns().path(),
            cgroup: self.outside.cgroup().path().to_owned(),
        };
        let node = SocketAddr::from((home.node.addr().v4, self.node_port));
        let millis = u64::try_from(KNOCK.as_millis())?;
        let [one, two] = &mut self.clients;
        one.knock(&inside, vip(NUMBER), millis)?;
        two.knock(&outside, node, millis)?;
        thread::sleep(BEFORE);
        let running = happen(self.world, home, running, event)?;
        let (one, two) = (one.knocked()?, two.knocked()?);
        running.stop()?;
        let sum = |of: fn(&Knocked) -> u64| {
            f64::from(u32::try_from(of(&one) + of(&two)).unwrap_or(u32::MAX))
        };
        Ok(vec![
            sum(|k| k.attempts),
            sum(|k| k.failed),
            sum(|k| k.retried),
            sum(|k| k.broken),
        ])
    }

    /// The way is there before anything is counted.
    fn reach(&mut self, home: &Home) -> Result<()> {
        let [one, _] = &mut self.clients;
        let reached = one.reach(&home.place(), vec![vip(NUMBER)])?;
        anyhow::ensure!(reached.len() == 1, "nobody answers");
        Ok(())
    }
}

fn happen(world: &World, home: &Home, running: Running, event: Event) -> Result<Running> {
    let cluster = &world.cluster;
    Ok(match event {
        Event::Nothing => running,
        Event::Kill => {
            running.kill()?;
            thread::sleep(DEAD);
            home.spawn(cluster)?
        }
        Event::Replace => {
            running.stop()?;
            home.spawn(cluster)?
        }
        Event::Changes => {
            change(world)?;
            running
        }
    })
}

fn change(world: &World) -> Result<()> {
    let (start, pause) = (Instant::now(), Duration::from_secs(1) / CHANGES);
    let time = KNOCK.checked_sub(2 * BEFORE).unwrap_or_default();
    for step in 1.. {
        let patch = json!({"endpoints": endpoints_json(&addresses(step))});
        bulk::patch::<EndpointSlice>(world.cluster.client(), [(format!("{NAME}-a"), patch)])?;
        if start.elapsed() >= time {
            break;
        }
        // A late one is followed by the next at once.
        thread::sleep((pause * step).saturating_sub(start.elapsed()));
    }
    Ok(())
}

/// Not the median: no round may have one.
fn bars(samples: &Samples) -> Vec<Bar> {
    let mut bars = Vec::new();
    for (event, metrics) in EVENTS {
        for metric in [&metrics[1], &metrics[3]] {
            let worst = samples
                .metric(metric.name)
                .and_then(|metric| samples.spread(0, metric))
                .and_then(|spread| Spread::of(&[spread.max]));
            if event != Event::Nothing {
                bars.push(Bar::at_most(
                    format!("lb-agent, {}, worst round", metric.name),
                    worst,
                    0.0,
                ));
            }
        }
    }
    bars
}
