//! The suite `liveness`: connections that fail, or are slow, while the balancer is killed,
//! replaced, and while a thousand endpoints a second change. Holds the rows and the bars.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use serde_json::json;
use testbed::{cluster::objects::node_port, lan, poll};

use crate::{
    bar::Bar,
    bulk::{self, NAMESPACE},
    client::Client,
    frame::{self, Metric, Plan, Step},
    header::Header,
    peer::{Home, Kind, Running},
    report::{Part, Report},
    samples::Samples,
    services::{backend, endpoints_json, service_json, slice_json, vip},
    stats::Spread,
    wire::{Connects, Where},
    world::{Shape, World},
};

/// What happens, in this order.
const EVENTS: [Event; 4] = [Event::Nothing, Event::Kill, Event::Replace, Event::Changes];
/// What is counted around each.
const METRICS: [Metric; 16] = [
    n("nothing: connections"),
    n("nothing: failed"),
    n("nothing: SYNs again"),
    n("nothing: kept ones broken"),
    n("kill -9: connections"),
    n("kill -9: failed"),
    n("kill -9: SYNs again"),
    n("kill -9: kept ones broken"),
    n("upgrade: connections"),
    n("upgrade: failed"),
    n("upgrade: SYNs again"),
    n("upgrade: kept ones broken"),
    n("1,000 changes/s: connections"),
    n("1,000 changes/s: failed"),
    n("1,000 changes/s: SYNs again"),
    n("1,000 changes/s: kept ones broken"),
];

const fn n(name: &'static str) -> Metric {
    Metric { name, unit: "n" }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Nothing,
    /// kill -9; started again after a moment.
    Kill,
    /// Stopped and started, as by a new version.
    Replace,
    /// Half of a service's endpoints are replaced, again and again; each of them serves all the
    /// time.
    Changes,
}

/// Clients open connections for this long around an event, [`BEFORE`] of it before the event; less
/// with `--quick`.
const WINDOW: Duration = Duration::from_millis(1600);
const QUICK_WINDOW: Duration = Duration::from_millis(1200);
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

struct Setup<'a> {
    world: &'a World,
    outside: lan::Client,
    node_port: u16,
    /// Inside of the node, outside of it.
    clients: [Client; 2],
    window: Duration,
}

/// Builds it all, measures, removes it all.
pub(crate) fn run(quick: bool, rounds: usize) -> Result<Report> {
    let header = Header::look()?;
    let world = World::new(Shape {
        services: if quick { 50 } else { 1000 },
        endpoints: 4,
    })?;
    let mut setup = Setup {
        node_port: web(&world)?,
        outside: world.cluster.outside(2)?,
        clients: [Client::start_unhurried()?, Client::start_unhurried()?],
        world: &world,
        window: if quick { QUICK_WINDOW } else { WINDOW },
    };
    let window = setup.window;
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
    // Nothing is compared: to see that it works, one is enough.
    let rounds = if quick { 1 } else { rounds };
    let plan = Plan {
        suite: "liveness",
        rows: kinds.map(Kind::name).to_vec(),
        steps: &[Step::new(&METRICS)],
        control: None,
        rounds,
        most: rounds,
        blocks: 1,
    };
    let samples = frame::run(&plan, |turn| setup.all(&homes[turn.row]).map(Some))?;
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
                "a client on the node connects to a VIP while one outside connects to the node port, for {} s around each event",
                window.as_secs_f64()
            ),
            format!(
                "changes: {CHANGED} of {ENDPOINTS} endpoints of that very service, {CHANGES} times a second, all of which serve all the time"
            ),
        ],
    })
}

/// The service that clients connect to; its node port.
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

impl Setup<'_> {
    /// One event after the other.
    fn all(&mut self, home: &Home) -> Result<Vec<f64>> {
        let cluster = &self.world.cluster;
        let (mut running, _) = home
            .start(cluster, START)?
            .context("the balancer does not start")?;
        self.reach(home)?;
        let mut values = Vec::new();
        for event in EVENTS {
            let (still, counted) = self
                .during(home, running, event)
                .with_context(|| format!("{event:?}"))?;
            running = still;
            values.extend(counted);
        }
        running.stop()?;
        Ok(values)
    }

    fn during(
        &mut self,
        home: &Home,
        mut running: Running,
        event: Event,
    ) -> Result<(Running, [f64; 4])> {
        let inside = home.sandbox();
        let outside = Where {
            netns: self.outside.netns().path(),
            cgroup: self.outside.cgroup().path().to_owned(),
        };
        let node = SocketAddr::from((home.node.addr().v4, self.node_port));
        let millis = u64::try_from(self.window.as_millis())?;
        let [one, two] = &mut self.clients;
        one.connect(&inside, vip(NUMBER), millis)?;
        two.connect(&outside, node, millis)?;
        thread::sleep(BEFORE);
        running = self.happen(home, running, event)?;
        let [one, two] = &mut self.clients;
        let (one, two) = (one.connected()?, two.connected()?);
        // The next event finds one that is done with this one.
        poll::until_true(START, "the balancer is done", || home.is_done(&mut running))?;
        let sum = |of: fn(&Connects) -> u64| {
            f64::from(u32::try_from(of(&one) + of(&two)).unwrap_or(u32::MAX))
        };
        let counted = [
            sum(|k| k.attempts),
            sum(|k| k.failed),
            sum(|k| k.retried),
            sum(|k| k.broken),
        ];
        Ok((running, counted))
    }

    fn happen(&self, home: &Home, running: Running, event: Event) -> Result<Running> {
        let cluster = &self.world.cluster;
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
                change(self.world, self.window)?;
                running
            }
        })
    }

    /// The way is there before anything is counted.
    fn reach(&mut self, home: &Home) -> Result<()> {
        let [one, _] = &mut self.clients;
        let reached = one.reach(&home.sandbox(), vec![vip(NUMBER)])?;
        anyhow::ensure!(reached.len() == 1, "no backend answers");
        Ok(())
    }
}

fn change(world: &World, window: Duration) -> Result<()> {
    let (start, pause) = (Instant::now(), Duration::from_secs(1) / CHANGES);
    let time = window.checked_sub(2 * BEFORE).unwrap_or_default();
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
    let event = |metric: &Metric| !metric.name.starts_with("nothing");
    let bad = |metric: &Metric| metric.name.ends_with("failed") || metric.name.ends_with("broken");
    METRICS
        .iter()
        .filter(|metric| event(metric) && bad(metric))
        .map(|metric| {
            let worst = samples
                .metric(metric.name)
                .and_then(|metric| samples.spread(0, metric))
                .and_then(|spread| Spread::of(&[spread.max]));
            Bar::at_most(
                format!("lb-agent, {}, worst round", metric.name),
                worst,
                0.0,
            )
        })
        .collect()
}
