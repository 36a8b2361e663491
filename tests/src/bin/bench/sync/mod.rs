//! The suite `sync`: from the API server into the kernel. How long a start takes, cold and warm, how soon a change is seen by a
//! client, what it costs, beside a client that only listens and beside kube-proxy. Owns the rows and the bars.

mod map;
mod plain;

use std::cell::RefCell;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use self::map::Look;
use self::plain::Watch;
use crate::bar::{Bar, Of};
use crate::client::Client;
use crate::frame::{self, Metric, Plan, Samples, Step};
use crate::header::Header;
use crate::peer::{Home, Kind, Running, Took};
use crate::report::{Over, Part, Report, Table, number};
use crate::stats::{Spread, quantile};
use crate::world::{Shape, World, probe, probe_vip};

/// What a round tells of a row, in this order.
const METRICS: &[Metric] = &[
    metric(COLD, "s"),
    metric(COLD_CPU, "s"),
    metric("cold start, writing by its own account", "s"),
    metric("cold start, elements written", "n"),
    metric("warm start", "s"),
    metric("warm start, CPU", "s"),
    metric(WARM_WRITES, "n"),
    metric("a change in the map p50", "ms"),
    metric(SEEN, "ms"),
    metric(SEEN_P99, "ms"),
    metric("a change, elements written", "n"),
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
const WARM_WRITES: &str = "warm start, elements written";
const SEEN: &str = "a change seen p50";
const SEEN_P99: &str = "a change seen p99";

const fn metric(name: &'static str, unit: &'static str) -> Metric {
    Metric { name, unit }
}

/// The control: what it hears is the earliest that anybody can know.
const PLAIN: &str = "a client that only lists and watches";
/// Changes of one endpoint in a round, of ours and of the control; kube-proxy takes a second for each.
const CHANGES: usize = 60;
const THEIR_CHANGES: usize = 5;
/// Between two of them: longer than the pause in which changes are gathered, ours and theirs.
const PAUSE: Duration = Duration::from_millis(40);
const THEIR_PAUSE: Duration = Duration::from_millis(1200);
/// What is retired is cleared after a second of rest.
const REST: Duration = Duration::from_millis(1500);
/// Nobody waits longer for a change.
const PATIENCE: Duration = Duration::from_mins(1);

/// A scale, and how much time its peers get.
struct Scale {
    shape: Shape,
    /// The mode, in how many rounds it is tried, and its bound.
    peers: &'static [(&'static str, usize, Duration)],
    rounds: usize,
    /// With the large service.
    large: bool,
}

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
            "kube-proxy's cold start that was given up counts with the time that it got, and is shorter here than it is"
                .to_owned(),
        ],
    })
}

fn scales(quick: bool, rounds: usize) -> Vec<Scale> {
    let scale = |services, endpoints, peers, rounds, large| Scale {
        shape: Shape {
            services,
            endpoints,
        },
        peers,
        rounds,
        large,
    };
    const MINUTE: Duration = Duration::from_mins(1);
    const BOTH: &[(&str, usize, Duration)] =
        &[("nftables", usize::MAX, MINUTE), ("iptables", usize::MAX, MINUTE)];
    if quick {
        return vec![scale(500, 4, BOTH, rounds, true)];
    }
    vec![
        scale(1000, 4, BOTH, rounds, true),
        // The rules of iptables took more than four minutes.
        scale(10_000, 4, &[("nftables", 2, MINUTE)], rounds, false),
        scale(5000, 50, &[("nftables", 1, MINUTE)], rounds, false),
        scale(50_000, 2, &[], rounds, false),
    ]
}

/// One round after the other at one scale; each change's milliseconds, by row.
fn one(scale: &Scale) -> Result<(Samples, Vec<(String, Vec<f64>)>)> {
    eprintln!("sync: writing {}", scale.shape.says());
    let begun = Instant::now();
    let world = World::new(scale.shape)?;
    eprintln!("sync: written in {} s", begun.elapsed().as_secs());
    let mut client = Client::start_unhurried()?;
    let mut kinds = vec![(Kind::Ours, usize::MAX, PATIENCE)];
    kinds.extend(scale.peers.iter().map(|(mode, rounds, bound)| (Kind::KubeProxy(mode), *rounds, *bound)));
    let names = kinds.iter().map(|(kind, _, _)| kind.name());
    let rows: Vec<String> = std::iter::once(PLAIN.to_owned()).chain(names).collect();
    let plan = Plan {
        rows: rows.clone(),
        steps: &[Step { metrics: METRICS }],
        control: Some(0),
        rounds: scale.rounds,
        blocks: 1,
    };
    let changes: RefCell<Vec<(String, Vec<f64>)>> =
        RefCell::new(rows.into_iter().map(|name| (name, Vec::new())).collect());
    let round = std::cell::Cell::new(0);
    let mut number = 0;
    let samples = frame::run(
        &plan,
        |this| {
            eprintln!("sync: round {}", this + 1);
            round.set(this);
        },
        |row, _| {
            let mut seen = Vec::new();
            let values = match row.checked_sub(1).map(|peer| kinds[peer]) {
                None => Some(control(&world, &mut seen)?),
                Some((_, rounds, _)) if round.get() >= rounds => None,
                Some((kind, _, bound)) => {
                    number += 1;
                    let home = Home::new(
                        &world.cluster,
                        &world.ground,
                        number,
                        kind,
                        scale.shape.services,
                    )?;
                    Some(peer(&world, &mut client, &home, bound, scale.large, &mut seen)?)
                }
            };
            changes.borrow_mut()[row].1.extend(seen);
            Ok(values)
        },
    )?;
    Ok((samples, changes.into_inner()))
}

/// Everything that the control has.
fn control(world: &World, seen: &mut Vec<f64>) -> Result<Vec<f64>> {
    let api = world.cluster.client();
    let cold = plain::list(api)?;
    let watch = Watch::new(api)?;
    for n in 0..CHANGES {
        let odd = n % 2 == 0;
        let start = Instant::now();
        world.move_probe(odd)?;
        let heard = watch.heard(probe(odd).ip())?;
        seen.push(millis(heard - start));
        thread::sleep(PAUSE);
    }
    let mut values = vec![f64::NAN; METRICS.len()];
    put(&mut values, COLD, cold);
    put(&mut values, SEEN, of(seen, 0.5)?);
    put(&mut values, SEEN_P99, of(seen, 0.99)?);
    Ok(values)
}

/// Everything that a balancer has: started cold, stopped, started warm, told of changes, stopped.
fn peer(
    world: &World,
    client: &mut Client,
    home: &Home,
    bound: Duration,
    large: bool,
    seen: &mut Vec<f64>,
) -> Result<Vec<f64>> {
    let cluster = &world.cluster;
    let nothing = || f64::NAN;
    let Some((running, took)) = home.start(cluster, bound)? else {
        let mut values = vec![f64::NAN; METRICS.len()];
        put(&mut values, COLD, bound.as_secs_f64());
        return Ok(values);
    };
    reaches_all(world, client, home)?;
    let Took {
        seconds,
        cpu_seconds,
    } = took;
    let mut values = vec![
        seconds,
        cpu_seconds,
        home.told_seconds().unwrap_or_else(nothing),
        home.written().unwrap_or_else(nothing),
    ];
    running.stop()?;
    let (running, took) = home
        .start(cluster, PATIENCE)?
        .context("a warm start takes longer than a cold one")?;
    // What is written too much may come later.
    thread::sleep(REST);
    values.extend([
        took.seconds,
        took.cpu_seconds,
        home.written().unwrap_or_else(nothing),
    ]);
    values.extend(changed(world, client, home, seen)?);
    values.extend(rolled(world, client, home)?);
    if large {
        values.extend(grown(world, client, home)?);
    } else {
        values.extend([f64::NAN; 4]);
    }
    stop(running)?;
    Ok(values)
}

fn stop(running: Running) -> Result<()> {
    running.stop().context("stop a balancer")
}

/// A sync that leaves something out must not count.
fn reaches_all(world: &World, client: &mut Client, home: &Home) -> Result<()> {
    let sample = world.sample();
    let targets = sample.iter().map(|(vip, _)| *vip).collect();
    let reached = client.reach(&home.place(), targets)?;
    for ((vip, allowed), reached) in sample.iter().zip(reached) {
        ensure!(
            allowed.contains(&reached.tcp.ip()),
            "{}: {vip} leads to {}",
            home.kind.name(),
            reached.tcp
        );
    }
    Ok(())
}

/// One endpoint changes, again and again.
fn changed(
    world: &World,
    client: &mut Client,
    home: &Home,
    seen: &mut Vec<f64>,
) -> Result<[f64; 4]> {
    let (times, pause, look) = if home.kind == Kind::Ours {
        let look = Look::new(home.node.bpf_dir(), probe_vip())?;
        (CHANGES, PAUSE, Some(look))
    } else {
        (THEIR_CHANGES, THEIR_PAUSE, None)
    };
    // The endpoint is an even one at first, whatever came before.
    world.move_probe(false)?;
    client.until_reached(&home.place(), probe_vip(), probe(false))?.wait()?;
    thread::sleep(THEIR_PAUSE);
    let written = home.written();
    let mut mapped = Vec::new();
    for n in 0..times {
        let odd = n % 2 == 0;
        let (start, map, at) = thread::scope(|scope| {
            let look = look.as_ref();
            let watching = look.map(|look| scope.spawn(move || in_map(look, odd)));
            let waiting = client.until_reached(&home.place(), probe_vip(), probe(odd))?;
            let start = crate::wire::now();
            let begun = Instant::now();
            world.move_probe(odd)?;
            let at = waiting.wait()?;
            let map = match watching {
                Some(watching) => {
                    let found = watching.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
                    Some(found - begun)
                }
                None => None,
            };
            anyhow::Ok((start, map, at))
        })?;
        seen.push((at - start) * 1e3);
        mapped.extend(map.map(millis));
        thread::sleep(pause);
    }
    let first = seen.len() - times;
    let elements = match (written, home.written()) {
        (Some(before), Some(after)) => (after - before) / f64::from(u32::try_from(times)?),
        _ => f64::NAN,
    };
    Ok([
        quantile(&mapped, 0.5).unwrap_or(f64::NAN),
        of(&seen[first..], 0.5)?,
        of(&seen[first..], 0.99)?,
        elements,
    ])
}

fn in_map(look: &Look, odd: bool) -> Result<Instant> {
    let start = Instant::now();
    while look.first()? != probe(odd).ip() {
        ensure!(start.elapsed() < PATIENCE, "the change is in no map");
        thread::sleep(Duration::from_micros(50));
    }
    Ok(Instant::now())
}

/// A tenth of the services gets other endpoints, and the probe after them: what is seen of it stands behind all others.
fn rolled(world: &World, client: &mut Client, home: &Home) -> Result<[f64; 3]> {
    thread::sleep(REST);
    let (cpu, written) = (home.cpu_seconds()?, home.written());
    world.roll(true)?;
    let behind = behind(world, client, home, true, |_| Ok(()))?;
    thread::sleep(REST);
    let used = home.cpu_seconds()? - cpu;
    let elements = more(written, home.written());
    world.roll(false)?;
    self::behind(world, client, home, false, |_| Ok(()))?;
    Ok([behind, used, elements])
}

/// A service of 5,000 endpoints comes, one of them moves, it goes.
fn grown(world: &World, client: &mut Client, home: &Home) -> Result<[f64; 4]> {
    thread::sleep(REST);
    let cpu = home.cpu_seconds()?;
    world.add_large()?;
    let added = behind(world, client, home, true, |_| Ok(()))?;
    thread::sleep(REST);
    let used = home.cpu_seconds()? - cpu;
    let written = home.written();
    let moved = behind(world, client, home, false, World::move_in_large)?;
    thread::sleep(REST);
    let elements = more(written, home.written());
    world.remove_large()?;
    behind(world, client, home, true, |_| Ok(()))?;
    world.move_probe(false)?;
    Ok([added, used, moved, elements])
}

/// Milliseconds from the last write until the probe, moved as the last one, is seen to have moved.
fn behind(
    world: &World,
    client: &mut Client,
    home: &Home,
    odd: bool,
    before: impl Fn(&World) -> Result<()>,
) -> Result<f64> {
    let waiting = client.until_reached(&home.place(), probe_vip(), probe(odd))?;
    let start = crate::wire::now();
    before(world)?;
    world.move_probe(odd)?;
    Ok((waiting.wait()? - start) * 1e3)
}

fn more(before: Option<f64>, after: Option<f64>) -> f64 {
    match (before, after) {
        (Some(before), Some(after)) => after - before,
        _ => f64::NAN,
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn of(values: &[f64], q: f64) -> Result<f64> {
    quantile(values, q).context("no changes")
}

fn put(values: &mut [f64], name: &str, value: f64) {
    for (metric, place) in METRICS.iter().zip(values) {
        if metric.name == name {
            *place = value;
        }
    }
}

fn scale_bars(samples: &Samples, changes: &[(String, Vec<f64>)], shape: Shape) -> Vec<Bar> {
    let Shape {
        services,
        endpoints,
    } = shape;
    let says = shape.says();
    let value = |name: &str| samples.spread(1, samples.metric(name)?);
    let mut bars = vec![Bar::at_most(
        format!("warm start writes nothing, elements ({says})"),
        value(WARM_WRITES),
        0.0,
    )];
    let all: Vec<f64> = changes.get(1).map_or_else(Vec::new, |(_, all)| all.clone());
    let p99 = quantile(&all, 0.99).and_then(|p99| Spread::of(&[p99]));
    bars.push(Bar::at_most(
        format!("one endpoint changed, seen by a client, p99, ms ({says})"),
        p99,
        5.0,
    ));
    if services == 5000 {
        let says = format!("cold start, the agent's CPU time, s ({says})");
        bars.push(Bar::at_most(says, value(COLD_CPU), 2.0));
    }
    if endpoints == 50 || services >= 10_000 || services == 1000 {
        let says = format!("cold start, kube-proxy nftables over lb-agent ({says})");
        let of = Of::new(samples, COLD, "kube-proxy nftables", "lb-agent");
        bars.push(Bar::at_least_times(says, of, 10.0));
    }
    bars
}
