//! Ten thousand Services in a folder, on a real kernel: its maps hold what they should, a change
//! writes what it changes, and a Service of five thousand endpoints is exchanged under its clients.
//! Counted by the agent's metrics, never timed.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lb_agent::{
    maps::{bpf, dir::BpfDir, pinned::Access},
    plan::PlanConfig,
    sync::{Engine, Place, Report},
};
use lb_tests::scale::{
    read,
    world::{Content, LARGE, ROLLED, SLICE, Service, expected, fresh, world},
    yaml,
};
use testbed::{
    agent::{CHANGE, METRICS, Start},
    agent_output,
    one_node::OneNode,
    poll,
    probe::{HammerPlan, Kind},
};

const SERVICES: u32 = 10_000;
const LARGES: u32 = 45;
/// Services of a file.
const FILE: usize = 500;
/// Reading eighteen megabytes of YAML, on a machine that may be busy.
const READ: Duration = Duration::from_mins(4);
/// One endpoint in ten of Service 0 at a time.
const STEP: usize = LARGE / 10;
const HELD: usize = 20;

fn file(service: &Service) -> String {
    match service.number {
        // Those that change have a file of their own.
        0 => "s-0.yaml".to_owned(),
        7_003 => "s-7003.yaml".to_owned(),
        n => format!("many-{:02}.yaml", n as usize / FILE),
    }
}

fn write(bed: &OneNode, services: &[Service]) -> Result<()> {
    for part in services.chunk_by(|a, b| file(a) == file(b)) {
        // Two Services with files of their own leave others in two parts.
        let name = file(&part[0]).replace(".yaml", &format!("-{}.yaml", part[0].number));
        let texts: Vec<String> = part.iter().map(yaml::whole).collect();
        bed.node.write_manifest(&name, &texts.join("---\n"))?;
    }
    Ok(())
}

fn content(bed: &OneNode) -> Result<Content> {
    let mut maps = bpf::open(&BpfDir::at(bed.node.bpf_dir()), Access::Read)?;
    read::content(&mut maps)
}

fn compare(bed: &OneNode, services: &[Service]) -> Result<()> {
    let wanted = expected(services);
    let mut difference = None;
    // What is retired is cleared a moment later, behind a barrier.
    let same = poll::until_true(CHANGE, "the maps are as they should be", || {
        difference = wanted.differs(&content(bed)?);
        Ok(difference.is_none())
    });
    same.with_context(|| difference.unwrap_or_default())
}

/// Elements written to this map so far.
fn written(bed: &OneNode, map: &str) -> Result<u64> {
    let name = format!("lb_agent_map_writes_total{{map=\"{map}\"}}");
    count(agent_output::metric(&bed.node, &name)?)
}

fn all_written(bed: &OneNode) -> Result<u64> {
    count(agent_output::metric_sum(
        &bed.node,
        "lb_agent_map_writes_total",
    )?)
}

fn entries(bed: &OneNode, map: &str) -> Result<u64> {
    let name = format!("lb_agent_map_entries{{map=\"{map}\"}}");
    count(agent_output::metric(&bed.node, &name)?)
}

fn count(value: f64) -> Result<u64> {
    format!("{value:.0}").parse().context("a count")
}

/// Waits until exactly so much has been written to `lb_members`.
fn members_written(bed: &OneNode, wanted: u64) -> Result<()> {
    poll::until_true(READ, "the change is written", || {
        let now = written(bed, "lb_members")?;
        ensure!(now <= wanted, "{now} memberships written, not {wanted}");
        Ok(now == wanted)
    })
}

fn rss_mb(bed: &OneNode) -> Result<u64> {
    let pid = bed.agent.as_ref().context("it runs")?.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kb = line
        .and_then(|l| l.split_whitespace().next())
        .context("VmRSS")?;
    Ok(kb.parse::<u64>()? / 1024)
}

/// Each Service port has its series; how long a scrape takes is only told.
fn scrape(bed: &OneNode, services: &[Service]) -> Result<String> {
    let mut times = Vec::new();
    let mut text = String::new();
    for _ in 0..5 {
        let began = Instant::now();
        text = agent_output::metrics(&bed.node)?;
        times.push(began.elapsed());
    }
    times.sort();
    let series = text.lines();
    let series = series.filter(|l| l.starts_with("lb_agent_service_connections_total{"));
    let (series, ports) = (series.count(), services.iter().map(|s| s.ports.len()).sum());
    let most = 10_000;
    assert_eq!(series, most.min(ports));
    let cut = agent_output::metric(&bed.node, "lb_agent_service_ports_without_metrics")?;
    ensure!(
        count(cut)? == (ports - series) as u64,
        "{cut} of {ports} cut"
    );
    Ok(format!(
        "{ports} Service ports: /metrics answers {} kB in {:?}",
        text.len() / 1024,
        times[2]
    ))
}

/// The page is bounded, whatever there is; how long a look takes is only told.
fn page(bed: &OneNode, services: &[Service]) -> Result<String> {
    let ports: usize = services.iter().map(|s| s.ports.len()).sum();
    let mut told = Vec::new();
    for path in ["/", "/?sort=active", "/?page=2"] {
        let began = Instant::now();
        let mut stream = bed.node.block(|| Ok(TcpStream::connect(METRICS)?))?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {METRICS}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut html = String::new();
        stream.read_to_string(&mut html)?;
        ensure!(html.starts_with("HTTP/1.1 200"), "{html}");
        let rows = html.matches("class=\"at\"").count();
        ensure!(
            rows == 200 && html.len() < 2_000_000,
            "{rows} rows, {} bytes",
            html.len()
        );
        let look = html
            .split_once("data-took=\"")
            .and_then(|(_, rest)| rest.split_once('"'));
        let (look, _) = look.context("how long the look took")?;
        told.push(format!(
            "{path} {} kB in {:?}, its look {look} ms",
            html.len() / 1024,
            began.elapsed()
        ));
    }
    Ok(format!(
        "{ports} Service ports: {}; {} MB resident",
        told.join("; "),
        rss_mb(bed)?
    ))
}

#[test]
fn ten_thousand_services_and_an_update_of_five_thousand_endpoints() -> Result<()> {
    let mut bed = OneNode::with(Start::new(), |_| Vec::new())?;
    let mut all = world(SERVICES, LARGES);
    // One pod answers for every endpoint of Service 0.
    let pod = &bed.node.pods()[0];
    pod.netns().ip("route add local 10.192.0.0/12 dev lo\n")?;
    let (gateway, device) = (pod.addr().v4, pod.device());
    bed.node.netns().ip(&format!(
        "route add 10.192.0.0/12 via {gateway} dev {device} onlink\n"
    ))?;

    let empty = all_written(&bed)?;
    let wanted = expected(&all);
    write(&bed, &all)?;
    poll::until_true(READ, "everything is written", || {
        let fronts = wanted.fronts.keys().filter(|k| k.0.is_some()).count() + wanted.marks.len();
        Ok(entries(&bed, "lb_frontends")? == fronts as u64)
    })?;
    compare(&bed, &all)?;
    let elements = wanted.fronts.len() + wanted.marks.len() + wanted.pools() + wanted.slots();
    let elements = elements + wanted.members() + wanted.backends.len();
    ensure!(
        all_written(&bed)? - empty == elements as u64,
        "{} elements written, not each of {elements} once",
        all_written(&bed)? - empty
    );
    println!(
        "{} services, {} endpoints: the agent has {} MB resident",
        all.len(),
        wanted.backends.len(),
        rss_mb(&bed)?
    );
    ensure!(agent_output::partially_programmed(&bed.node)?.is_empty());
    println!("{}", scrape(&bed, &all)?);
    println!("{}", page(&bed, &all)?);

    nothing_changes(&mut bed, &all)?;
    one_endpoint(&bed, &mut all)?;
    rolling_update(&bed, &mut all)?;

    // Its end frees what was its own, and the end of all of them everything.
    let before = entries(&bed, "lb_backends")?;
    let gone = all.remove(0);
    bed.node.remove_manifest("s-0-0.yaml")?;
    poll::until_true(READ, "its endpoints are freed", || {
        Ok(before - entries(&bed, "lb_backends")? == gone.endpoints().count() as u64)
    })?;
    compare(&bed, &all)?;
    for entry in fs::read_dir(bed.node.manifests())? {
        let path = entry?.path();
        if !path.ends_with("node.yaml") {
            fs::remove_file(path)?;
        }
    }
    for map in [
        "lb_frontends",
        "lb_nodeports",
        "lb_pools",
        "lb_slots",
        "lb_members",
        "lb_backends",
    ] {
        poll::until_true(READ, &format!("{map} is empty"), || {
            Ok(entries(&bed, map)? == 0)
        })?;
    }
    compare(&bed, &[])
}

/// A folder that is read again, and an agent that starts again.
fn nothing_changes(bed: &mut OneNode, all: &[Service]) -> Result<()> {
    let before = all_written(bed)?;
    let dir = bed.node.manifests();
    fs::rename(dir.join("s-7003-7003.yaml"), dir.join("another-name.yaml"))?;
    // What comes behind it in the same folder has been read: then so has the other.
    let note = "apiVersion: v1\nkind: Service\nmetadata: {name: note}\nspec: {clusterIP: 10.97.0.1, ports: [{port: 1}]}\n";
    bed.node.write_manifest("note.yaml", note)?;
    poll::until_true(READ, "the folder is read again", || {
        // Two marks, two frontends and an entry.
        Ok(all_written(bed)? == before + 5)
    })?;
    bed.node.remove_manifest("note.yaml")?;
    poll::until_true(READ, "and once more", || {
        // Four entries go, and one is cleared.
        Ok(all_written(bed)? == before + 10)
    })?;
    bed.agent.take().context("it runs")?.kill()?;
    audited(bed)?;
    let mut agent = Start::new().without_waiting(&bed.node)?;
    agent.wait_ready_within(&bed.node, READ)?;
    bed.agent = Some(agent);
    ensure!(
        all_written(bed)? == 0,
        "the restart wrote {}",
        all_written(bed)?
    );
    compare(bed, all)
}

/// An audit of all of it finds nothing, whether it takes a page at a time or a map; how long a
/// change would have waited.
#[expect(clippy::print_stdout, reason = "what was measured")]
fn audited(bed: &OneNode) -> Result<()> {
    let mut maps = bpf::open(&BpfDir::at(bed.node.bpf_dir()), Access::Write)?;
    let mut engine = Engine::restore(&mut maps, PlanConfig::default())?;
    for (what, mut place) in [
        ("a page", Place::default()),
        ("a map", Place::with_pages(1 << 24)),
    ] {
        let (mut steps, mut longest, mut whole) = (0, Duration::ZERO, Duration::ZERO);
        loop {
            let start = Instant::now();
            let audit = engine.audit(&mut place, &mut maps);
            let took = start.elapsed();
            ensure!(
                audit.drift == 0 && audit.report == Report::default(),
                "{audit:?}"
            );
            (steps, longest, whole) = (steps + 1, longest.max(took), whole + took);
            if audit.ended {
                break;
            }
        }
        println!("an audit by {what}: {steps} steps, {whole:?} in all, the longest {longest:?}");
    }
    Ok(())
}

/// Of a small Service among ten thousand.
fn one_endpoint(bed: &OneNode, all: &mut [Service]) -> Result<()> {
    let service = all
        .iter_mut()
        .find(|s| s.number == 7_003)
        .context("there")?;
    service.slices[0].remove(0);
    let before = all_written(bed)?;
    bed.node
        .write_manifest("another-name.yaml", &yaml::whole(service))?;
    // A member, two slots, an entry; after a while the backend is cleared.
    poll::until_true(READ, "one endpoint is gone", || {
        let now = all_written(bed)? - before;
        ensure!(now <= 5, "{now} elements for one endpoint");
        Ok(now == 5)
    })?;
    compare(bed, all)
}

/// New endpoints ready and old ones draining, then these gone: a tenth at a time, under old and new
/// connections.
fn rolling_update(bed: &OneNode, all: &mut [Service]) -> Result<()> {
    let to = SocketAddr::new(all[0].vip().into(), 80);
    let client = bed.client();
    poll::until(CHANGE, "Service 0 answers", || {
        Ok(client.ask(Kind::Tcp, to).ok())
    })?;
    let held: Vec<_> = (0..HELD)
        .map(|_| client.connect(Kind::Tcp, to))
        .collect::<Result<_, _>>()?;
    let hammer = client.hammer(HammerPlan {
        kind: Kind::Tcp,
        connected: true,
        to,
        allowed: Vec::new(),
    })?;
    let mut next = u32::from(ROLLED) + 0x1_0000;
    let mut members = written(bed, "lb_members")?;
    let slots = written(bed, "lb_slots")?;
    for first in (0..LARGE / SLICE).step_by(STEP / SLICE) {
        let slices = first..first + STEP / SLICE;
        for slice in &mut all[0].slices[slices.clone()] {
            for old in slice.iter_mut() {
                old.draining = true;
            }
            slice.extend(fresh(&mut next, SLICE));
        }
        bed.node
            .write_manifest("s-0-0.yaml", &yaml::whole(&all[0]))?;
        members += 2 * STEP as u64;
        members_written(bed, members)?;
        for slice in &mut all[0].slices[slices] {
            slice.drain(..SLICE);
        }
        bed.node
            .write_manifest("s-0-0.yaml", &yaml::whole(&all[0]))?;
        members += STEP as u64;
        members_written(bed, members)?;
        for sock in &held {
            sock.ask("still there")?;
        }
    }
    compare(bed, all)?;
    // A new version of the slots with each tenth: no write for endpoints that only leave, since
    // they had no slot.
    let slots = written(bed, "lb_slots")? - slots;
    ensure!(slots == (LARGE / STEP * LARGE) as u64, "{slots} slots");
    let tally = hammer.stop()?;
    ensure!(
        tally.failures.is_empty() && tally.attempts > 100,
        "{tally:?}"
    );
    Ok(())
}
