//! The suite `memory`: what the agent's process and its maps weigh, with so many services and
//! endpoints, beside kube-proxy. Owns the rows and the bars.

use std::{
    fs,
    os::fd::AsRawFd as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_common::maps::{self, MapSpec};

use crate::{
    bar::Bar,
    frame::{self, Metric, Plan, Step},
    header::Header,
    peer::{Home, Kind},
    progress::say,
    report::{Part, Report, Table, number},
    samples::Samples,
    world::{Shape, World},
};

const METRICS: &[Metric] = &[
    Metric {
        name: RESIDENT,
        unit: "MB",
    },
    Metric {
        name: "resident at most",
        unit: "MB",
    },
    Metric {
        name: MAPS,
        unit: "MB",
    },
];
const RESIDENT: &str = "resident";
const MAPS: &str = "maps of the kernel";
/// What a start leaves behind is given back, or is not.
const REST: Duration = Duration::from_secs(3);
/// Then it is weighed as it is: kube-proxy may still be writing.
const BOUND: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(50);
const ROUNDS: usize = 3;
/// Endpoints of each service.
const ENDPOINTS: u32 = 10;

/// What the maps weigh at a scale.
struct Weight {
    spec: MapSpec,
    bytes: f64,
    entries: f64,
    /// Of all maps with this name, entries that are there; arrays are all there.
    used: Option<f64>,
}

/// Builds it all, measures, removes it all.
pub(crate) fn run(quick: bool, rounds: usize) -> Result<Report> {
    let header = Header::look()?;
    let scales: &[u32] = if quick { &[100, 500] } else { &[1000, 10_000] };
    let mut parts: Vec<Part> = Vec::new();
    let mut weights = Vec::new();
    for &services in scales {
        let shape = Shape {
            services,
            endpoints: ENDPOINTS,
        };
        say(format_args!("memory: writing {}", shape.says()));
        let world = World::new(shape)?;
        // Bytes are no times: one round is nearly as good as the next.
        let (samples, weight) = one(&world, if quick { 1 } else { rounds.min(ROUNDS) })?;
        weights = weight;
        parts.push(Part {
            title: shape.says(),
            over: None,
            samples,
            charts: vec![RESIDENT],
        });
    }
    let bars = parts.iter().map(|part| {
        let says = format!("the agent's resident memory, MB ({})", part.title);
        let metric = part.samples.metric(RESIDENT);
        Bar::at_most(
            says,
            metric.and_then(|metric| part.samples.spread(0, metric)),
            60.0,
        )
    });
    Ok(Report {
        suite: "memory",
        quick,
        header,
        bars: bars.collect(),
        tables: vec![each(scales, &parts), of_maps(&weights)],
        parts,
        notes: vec![
            format!(
                "looked at {} s after all was written, or {} s after the start where that takes longer; kube-proxy's rules are not counted: they are the kernel's, which keeps no account of them",
                REST.as_secs(),
                BOUND.as_secs()
            ),
            "maps are allocated for what they may hold, whatever they hold, but for lb_members and lb_sk".to_owned(),
        ],
    })
}

fn one(world: &World, rounds: usize) -> Result<(Samples, Vec<Weight>)> {
    let kinds = [
        (Kind::Ours, usize::MAX),
        (Kind::KubeProxy("nftables"), 1),
        (Kind::KubeProxy("iptables"), 1),
    ];
    let plan = Plan {
        suite: "memory",
        rows: kinds.iter().map(|(kind, _)| kind.name()).collect(),
        steps: &[Step::new(METRICS)],
        control: None,
        rounds,
        most: rounds,
        blocks: 1,
    };
    let mut weights = Vec::new();
    let mut number = 0;
    let samples = frame::run(&plan, |turn| {
        let (kind, times) = kinds[turn.row];
        // Once is enough for what takes so long and moves so little.
        if turn.round >= times {
            return Ok(None);
        }
        number += 1;
        let (cluster, services) = (&world.cluster, world.shape.services);
        let home = Home::new(cluster, &world.ground, number, kind, services)?;
        let mut running = home.spawn(cluster)?;
        let begun = Instant::now();
        while !home.is_done(&mut running)? && begun.elapsed() < BOUND {
            thread::sleep(LOOK);
        }
        thread::sleep(REST);
        let (now, most) = running.memory()?;
        let maps = if kind == Kind::Ours {
            weights = maps::ALL
                .iter()
                .map(|spec| weigh(home.node.bpf_dir(), spec, &home))
                .collect::<Result<_>>()?;
            weights.iter().map(|weight| weight.bytes).sum::<f64>() / 1e6
        } else {
            f64::NAN
        };
        running.stop()?;
        Ok(Some(vec![now, most, maps]))
    })?;
    Ok((samples, weights))
}

/// By what the kernel says of an open map.
fn weigh(bpf_dir: &Path, spec: &MapSpec, home: &Home) -> Result<Weight> {
    let pin = bpf_dir.join("maps").join(spec.pin_name());
    let map =
        lb_sys::open_pin_read_only(&pin).with_context(|| format!("open {}", pin.display()))?;
    let path = format!("/proc/self/fdinfo/{}", map.as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let field = |name: &str| -> Result<f64> {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        let value = value.and_then(|value| value.trim().parse().ok());
        value.with_context(|| format!("{path} has no {name}"))
    };
    let used = home.metric(&format!("lb_agent_map_entries{{map=\"{}\"}}", spec.name));
    Ok(Weight {
        spec: *spec,
        bytes: field("memlock")?,
        entries: field("max_entries")?,
        used,
    })
}

/// What one more service with its endpoints weighs in the process.
fn each(scales: &[u32], parts: &[Part]) -> Table {
    let mut lines = Vec::new();
    if let ([few, .., many], [first, .., last]) = (scales, parts) {
        let services = f64::from(many - few);
        for (row, name) in first.samples.rows.iter().enumerate() {
            let resident = |part: &Part| {
                Some(
                    part.samples
                        .spread(row, part.samples.metric(RESIDENT)?)?
                        .median,
                )
            };
            let (Some(less), Some(more)) = (resident(first), resident(last)) else {
                lines.push(vec![name.clone(), String::new(), String::new()]);
                continue;
            };
            let bytes = (more - less) * 1e6 / services;
            lines.push(vec![
                name.clone(),
                number(bytes),
                number(bytes / f64::from(ENDPOINTS)),
            ]);
        }
    }
    Table {
        title: format!(
            "Resident bytes for each service more, with its {ENDPOINTS} endpoints and two ports"
        ),
        head: vec!["row", "bytes a service", "of that an endpoint"],
        lines,
    }
}

fn of_maps(weights: &[Weight]) -> Table {
    let lines = weights.iter().map(|weight| {
        let Weight {
            spec,
            bytes,
            entries,
            used,
        } = weight;
        vec![
            spec.name.to_owned(),
            number(*bytes / 1e6),
            format!("{entries:.0}"),
            number(bytes / entries.max(1.0)),
            used.map_or_else(String::new, |used| format!("{used:.0}")),
        ]
    });
    Table {
        title:
            "Maps at the largest scale; a connection of the packet path is two entries of lb_flows"
                .to_owned(),
        head: vec!["map", "MB", "room for", "bytes an entry", "entries"],
        lines: lines.collect(),
    }
}
