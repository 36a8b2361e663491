//! `lb-agent status`: the data path, from its pins, and the agent, from its lock and its health
//! address.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    args::{Output, Status},
    ask,
    get::API_VERSION,
    output::print,
};
use crate::{
    inventory, lb0,
    maps::{dir::BpfDir, stats::Stats},
};

/// Between two looks of `--wait`.
const AGAIN: Duration = Duration::from_millis(500);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusReport {
    api_version: &'static str,
    kind: &'static str,
    /// An agent holds the lock on the pins.
    running: bool,
    /// As this process sees it.
    pid: Option<u32>,
    /// `livez` and `readyz`, if the health address answers.
    live: Option<bool>,
    ready: Option<bool>,
    /// Pinned links, one a program.
    links: usize,
    /// Networks routed to `lb0`; absent if it does not exist.
    lb0: Option<usize>,
    /// What is wrong with `lb0`.
    lb0_problem: Option<String>,
    frontends: usize,
    without_backends: usize,
    backends: usize,
    /// Over all backends.
    connections: u64,
    /// What the kernel has counted, without zeroes.
    reasons: Vec<(&'static str, u64)>,
}

/// Carries the verb out; 1 when no agent runs or no program is attached.
pub fn run(status: &Status) -> Result<ExitCode> {
    let mut report = look(status.pins.dir(), status.health.address())?;
    if let Some(wait) = status.wait {
        let deadline = Instant::now() + wait;
        while !report.is_ready() && Instant::now() < deadline {
            thread::sleep(AGAIN);
            report = look(status.pins.dir(), status.health.address())?;
        }
    }
    let text = match status.output {
        Output::Json => serde_json::to_string_pretty(&report).context("encode JSON")? + "\n",
        Output::Table | Output::Wide => text(&report, status.pins.dir()),
    };
    print(&text)?;
    let good = match status.wait {
        Some(_) => report.is_ready(),
        None => report.is_good(),
    };
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl StatusReport {
    /// An agent runs and its programs are attached.
    fn is_good(&self) -> bool {
        self.running && self.links > 0 && self.live != Some(false)
    }

    /// It has also written everything that it was told.
    fn is_ready(&self) -> bool {
        self.is_good() && self.ready == Some(true)
    }
}

fn look(bpf_dir: &Path, health: SocketAddr) -> Result<StatusReport> {
    let dir = BpfDir::at(bpf_dir);
    let holder = holder(bpf_dir);
    let mut report = StatusReport {
        api_version: API_VERSION,
        kind: "Status",
        running: holder.is_some(),
        pid: holder.filter(|pid| *pid != 0),
        live: None,
        ready: None,
        links: fs::read_dir(dir.links()).map_or(0, Iterator::count)
            + fs::read_dir(dir.clsact()).map_or(0, Iterator::count),
        lb0: None,
        lb0_problem: None,
        frontends: 0,
        without_backends: 0,
        backends: 0,
        connections: 0,
        reasons: Vec::new(),
    };
    if report.running {
        report.live = ask::get(health, "/livez").map(|(good, _)| good);
        report.ready = ask::get(health, "/readyz").map(|(good, _)| good);
    }
    match lb0::blocking(lb0::look()) {
        Ok(routed) => report.lb0 = routed,
        Err(problem) => report.lb0_problem = Some(format!("{problem:#}")),
    }
    if !dir.maps().exists() {
        return Ok(report);
    }
    let all = inventory::open(&dir)?;
    report.frontends = all.len();
    report.without_backends = all.iter().filter(|f| f.without_backends.is_some()).count();
    let backends: BTreeSet<(u32, u64)> = all
        .iter()
        .flat_map(|f| &f.backends)
        .map(|b| (b.id, b.active_connections))
        .collect();
    report.backends = backends.len();
    report.connections = backends
        .iter()
        .map(|(_, active)| *active)
        .fold(0, u64::saturating_add);
    let reasons = Stats::open(&dir)?.reasons()?;
    report.reasons = reasons
        .into_iter()
        .filter(|(_, n)| *n > 0)
        .map(|(r, n)| (r.name(), n))
        .collect();
    Ok(report)
}

fn text(report: &StatusReport, bpf_dir: &Path) -> String {
    let agent = match (report.running, report.pid) {
        (false, _) => "not running; attached programs keep working".to_owned(),
        (true, Some(pid)) => format!("running, pid {pid}"),
        (true, None) => "running".to_owned(),
    };
    let word = |good: Option<bool>, yes: &'static str, no: &'static str| match good {
        Some(true) => yes,
        Some(false) => no,
        None => "unknown: no answer from its health address",
    };
    let mut lines = vec![("Agent", agent)];
    if report.running {
        lines.push(("Live", word(report.live, "yes", "no").to_owned()));
        lines.push((
            "Ready",
            word(
                report.ready,
                "yes",
                "not yet: the initial sync is not complete",
            )
            .to_owned(),
        ));
    }
    let programs = match report.links {
        0 => format!("none attached, nothing pinned in {}", bpf_dir.display()),
        n => format!("{n} attached, pinned in {}", bpf_dir.display()),
    };
    lines.push(("Programs", programs));
    let lb0 = match (&report.lb0_problem, report.lb0) {
        (Some(problem), _) => problem.clone(),
        (None, None) => "does not exist".to_owned(),
        (None, Some(n)) => format!("{n} networks routed to it"),
    };
    lines.push(("lb0", lb0));
    lines.push((
        "Frontends",
        format!(
            "{}, {} of them without a backend",
            report.frontends, report.without_backends
        ),
    ));
    lines.push((
        "Backends",
        format!(
            "{}, with {} open connections",
            report.backends, report.connections
        ),
    ));
    for (reason, n) in &report.reasons {
        lines.push((reason, n.to_string()));
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = lines
        .iter()
        .map(|(name, value)| format!("{name:<width$}  {value}"));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// Who holds the lock on the folder: a process id, 0 where it lives in another pid namespace.
fn holder(bpf_dir: &Path) -> Option<u32> {
    let meta = fs::metadata(bpf_dir).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    holder_in(&locks, meta.ino(), &device(meta.dev()))
}

/// As `/proc/locks` writes devices: major and minor in hexadecimal.
fn device(dev: u64) -> String {
    format!(
        "{:02x}:{:02x}",
        nix::sys::stat::major(dev),
        nix::sys::stat::minor(dev)
    )
}

/// Lines look like `1: FLOCK  ADVISORY  WRITE 4711 00:1b:20 0 EOF`.
fn holder_in(locks: &str, inode: u64, device: &str) -> Option<u32> {
    let file = format!("{device}:{inode}");
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let flock = words.next() == Some("FLOCK");
        let pid = words.nth(2)?;
        (flock && words.next() == Some(file.as_str())).then(|| pid.parse().unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_by_device_and_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 1 00:1b:20 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 00:1b:20 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 5 00:1b:20 0 EOF\n";
        assert_eq!(holder_in(locks, 20, "00:1b"), Some(4711));
        assert_eq!(holder_in(locks, 21, "00:1b"), None);
        assert_eq!(
            holder_in("2: FLOCK  ADVISORY  WRITE -1 00:1b:20 0 EOF\n", 20, "00:1b"),
            Some(0)
        );
        assert_eq!(holder_in("", 20, "00:1b"), None);
    }

    #[test]
    fn a_lock_that_is_held_here_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(holder(dir.path()), None);
        let file = fs::File::open(dir.path()).unwrap();
        let lock =
            nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
        assert_eq!(holder(dir.path()), Some(std::process::id()));
        drop(lock);
        assert_eq!(holder(dir.path()), None);
    }

    #[test]
    fn an_empty_node_is_reported_without_error() {
        let dir = tempfile::tempdir().unwrap();
        let report = look(&dir.path().join("none"), "127.0.0.1:1".parse().unwrap()).unwrap();
        assert!(!report.running && report.links == 0);
        assert!(text(&report, dir.path()).contains("not running"));
    }
}
