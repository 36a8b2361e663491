//! What is done with one balancer in one round: started cold, stopped, started warm, given
//! changes, stopped; and what the control has of that.

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    COLD, METRICS, SEEN, SEEN_P99, WARM,
    map::Look,
    plain::{self, Watch},
};
use crate::{
    client::Client,
    peer::{Home, Kind},
    progress::say,
    stats::quantile,
    world::{World, probe_vip},
};

/// Changes of one endpoint in a round, an even number, of ours and of the control; kube-proxy takes
/// a second for each.
const CHANGES: usize = 60;
const THEIR_CHANGES: usize = 6;
/// Between two of them: longer than the pause in which changes are gathered, ours and theirs.
const PAUSE: Duration = Duration::from_millis(40);
const THEIR_PAUSE: Duration = Duration::from_millis(1200);
/// What is retired is cleared after a second of rest.
const REST: Duration = Duration::from_millis(1500);
/// Limit of one start or one change.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// A balancer on its node.
pub(super) struct Phases<'a> {
    pub(super) world: &'a World,
    pub(super) client: &'a mut Client,
    pub(super) home: &'a Home,
    pub(super) extent: Extent,
}

/// How much is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// A cold start, and nothing more.
    Cold,
    /// All but the large service.
    Usual,
    Large,
}

/// What came of it.
pub(super) struct Done {
    /// NaN for what was not done.
    pub(super) values: Vec<f64>,
    /// The start that was given up, if one was: its time is the bound.
    pub(super) given_up: Option<&'static str>,
}

/// Everything that the control has.
pub(super) fn control(world: &World, seen: &mut Vec<f64>) -> Result<Vec<f64>> {
    let api = world.cluster.client();
    let cold = plain::list(api)?;
    let watch = Watch::new(api)?;
    for _ in 0..CHANGES {
        let wanted = world.other_probe().ip();
        let start = Instant::now();
        world.move_probe()?;
        let heard = watch.heard(wanted)?;
        seen.push(millis(heard - start));
        thread::sleep(PAUSE);
    }
    let mut values = vec![f64::NAN; METRICS.len()];
    put(&mut values, COLD, cold);
    put(&mut values, SEEN, of(seen, 0.5)?);
    put(&mut values, SEEN_P99, of(seen, 0.99)?);
    Ok(values)
}

impl Phases<'_> {
    /// Everything that a balancer has: started cold, stopped, started warm, given changes,
    /// stopped.
    pub(super) fn all(&mut self, seen: &mut Vec<f64>) -> Result<Done> {
        let (mut times, mut values) = (PhaseTimes::new(self.home), Vec::new());
        let given_up = self.each(&mut times, &mut values, seen)?;
        times.print();
        self.client.go(&self.world.ground.sandbox())?;
        values.resize(METRICS.len(), f64::NAN);
        if let Some(start) = given_up {
            put(&mut values, start, PATIENCE.as_secs_f64());
        }
        Ok(Done { values, given_up })
    }

    /// The start that was given up, if one was.
    fn each(
        &mut self,
        times: &mut PhaseTimes,
        values: &mut Vec<f64>,
        seen: &mut Vec<f64>,
    ) -> Result<Option<&'static str>> {
        let (home, cluster) = (self.home, &self.world.cluster);
        let nothing = || f64::NAN;
        let Some((running, took)) = home.start(cluster, PATIENCE)? else {
            return self.given_up(COLD, times);
        };
        self.reaches_all()?;
        values.extend([
            took.seconds,
            took.cpu_seconds,
            home.reported_seconds().unwrap_or_else(nothing),
            home.written().unwrap_or_else(nothing),
            home.calls().unwrap_or_else(nothing),
        ]);
        running.stop()?;
        times.ended(COLD);
        if self.extent == Extent::Cold {
            return Ok(None);
        }
        let Some((running, took)) = home.start(cluster, PATIENCE)? else {
            return self.given_up(WARM, times);
        };
        // What is written too much may come later.
        thread::sleep(REST);
        times.ended(WARM);
        values.extend([
            took.seconds,
            took.cpu_seconds,
            home.written().unwrap_or_else(nothing),
        ]);
        values.extend(self.changed(seen)?);
        times.ended("changes");
        values.extend(self.rolled()?);
        times.ended("rolling update");
        if self.extent == Extent::Large {
            values.extend(self.grown()?);
            times.ended("5,000 endpoints");
        }
        running.stop().context("stop a balancer")?;
        Ok(None)
    }

    /// kube-proxy may be given up; lb-agent may not, because a bar would be lost with it.
    fn given_up(
        &self,
        start: &'static str,
        times: &mut PhaseTimes,
    ) -> Result<Option<&'static str>> {
        ensure!(
            self.home.kind != Kind::Ours,
            "the {start} of lb-agent takes longer than {PATIENCE:?}"
        );
        times.ended(&format!("{start}, given up"));
        Ok(Some(start))
    }

    /// A sync that leaves something out must not count.
    fn reaches_all(&mut self) -> Result<()> {
        let Self {
            world,
            client,
            home,
            ..
        } = self;
        let sample = world.sample();
        let targets = sample.iter().map(|(vip, _)| *vip).collect();
        let reached = client.reach(&home.sandbox(), targets)?;
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
    fn changed(&mut self, seen: &mut Vec<f64>) -> Result<[f64; 5]> {
        let Self {
            world,
            client,
            home,
            ..
        } = self;
        let (times, pause, look) = if home.kind == Kind::Ours {
            let look = Look::new(home.node.bpf_dir(), probe_vip())?;
            (CHANGES, PAUSE, Some(look))
        } else {
            (THEIR_CHANGES, THEIR_PAUSE, None)
        };
        client
            .until_reached(&home.sandbox(), probe_vip(), world.this_probe())?
            .wait()?;
        thread::sleep(THEIR_PAUSE);
        let (written, calls) = (home.written(), home.calls());
        let mut mapped = Vec::new();
        for _ in 0..times {
            let (map, client) = self.change(look.as_ref())?;
            seen.push(client);
            mapped.extend(map);
            thread::sleep(pause);
        }
        let each = |sum: f64| Ok::<_, anyhow::Error>(sum / f64::from(u32::try_from(times)?));
        let elements = each(more(written, self.home.written()))?;
        let calls = each(more(calls, self.home.calls()))?;
        let first = seen.len() - times;
        Ok([
            quantile(&mapped, 0.5).unwrap_or(f64::NAN),
            of(&seen[first..], 0.5)?,
            of(&seen[first..], 0.99)?,
            elements,
            calls,
        ])
    }

    /// Moves the probe once; milliseconds until the map leads to its new endpoint, if that is
    /// looked at, and a client.
    fn change(&mut self, look: Option<&Look>) -> Result<(Option<f64>, f64)> {
        let Self {
            world,
            client,
            home,
            ..
        } = self;
        let wanted = world.other_probe();
        thread::scope(|scope| {
            let watching = look.map(|look| scope.spawn(move || in_map(look, wanted.ip())));
            let waiting = client.until_reached(&home.sandbox(), probe_vip(), wanted)?;
            let (start, begun) = (crate::wire::now(), Instant::now());
            world.move_probe()?;
            let seen = (waiting.wait()? - start) * 1e3;
            let mapped = watching.map(|watching| {
                let found = watching.join();
                found.map_err(|_| anyhow::anyhow!("a thread panicked"))?
            });
            Ok((mapped.transpose()?.map(|at| millis(at - begun)), seen))
        })
    }

    /// A tenth of the services gets other endpoints, and the probe after them: what is seen of it
    /// stands behind all others.
    fn rolled(&mut self) -> Result<[f64; 3]> {
        let (world, home) = (self.world, self.home);
        thread::sleep(REST);
        let (cpu, written) = (home.cpu_seconds()?, home.written());
        world.roll()?;
        let behind = self.behind(|_| Ok(()))?;
        thread::sleep(REST);
        let used = home.cpu_seconds()? - cpu;
        let elements = more(written, home.written());
        Ok([behind, used, elements])
    }

    /// A service of 5,000 endpoints comes, one of them moves, it goes.
    fn grown(&mut self) -> Result<[f64; 4]> {
        let (world, home) = (self.world, self.home);
        thread::sleep(REST);
        let cpu = home.cpu_seconds()?;
        world.add_large()?;
        let added = self.behind(|_| Ok(()))?;
        thread::sleep(REST);
        let used = home.cpu_seconds()? - cpu;
        let written = home.written();
        let moved = self.behind(World::move_in_large)?;
        thread::sleep(REST);
        let elements = more(written, home.written());
        world.remove_large()?;
        self.behind(|_| Ok(()))?;
        Ok([added, used, moved, elements])
    }

    /// Milliseconds from the last write until the probe, moved as the last one, is seen to have
    /// moved.
    fn behind(&mut self, before: impl Fn(&World) -> Result<()>) -> Result<f64> {
        let Self {
            world,
            client,
            home,
            ..
        } = self;
        let waiting = client.until_reached(&home.sandbox(), probe_vip(), world.other_probe())?;
        let start = crate::wire::now();
        before(world)?;
        world.move_probe()?;
        Ok((waiting.wait()? - start) * 1e3)
    }
}

/// How long each phase of one balancer took.
struct PhaseTimes {
    name: String,
    since: Instant,
    phases: Vec<String>,
}

impl PhaseTimes {
    fn new(home: &Home) -> Self {
        Self {
            name: home.kind.name(),
            since: Instant::now(),
            phases: Vec::new(),
        }
    }

    fn ended(&mut self, phase: &str) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.phases.push(format!("{phase} {seconds:.1} s"));
        self.since = Instant::now();
    }

    fn print(&self) {
        say(format_args!(
            "sync: {}: {}",
            self.name,
            self.phases.join(", ")
        ));
    }
}

fn in_map(look: &Look, wanted: IpAddr) -> Result<Instant> {
    let start = Instant::now();
    while look.first()? != wanted {
        ensure!(start.elapsed() < PATIENCE, "the change is in no map");
        thread::sleep(Duration::from_micros(50));
    }
    Ok(Instant::now())
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
