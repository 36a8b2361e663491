//! `lb-agent status`: the data path, from its pins, and the agent, by its lock and its health address.

use std::{
    collections::BTreeSet, fs, net::SocketAddr, os::unix::fs::MetadataExt as _, path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    lb0,
    maps::{dir::BpfDir, stats::Stats},
};

use super::{
    args::{Output, Status},
    ask,
    get::{self, API_VERSION},
    output::print,
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    api_version: &'static str,
    kind: &'static str,
    /// An agent holds the lock on the pins.
    running: bool,
    /// As this process sees it.
    pid: Option<u32>,
    /// `livez` and `readyz`, where the health address answers.
    live: Option<bool>,
    ready: Option<bool>,
    /// Pinned links: programs at work.
    links: usize,
    /// Networks routed to `lb0`; absent where it is not there.
    lb0: Option<usize>,
    /// Why not.
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
    let told = look(status.pins.dir(), status.health.address())?;
    let text = match status.output {
        Output::Json => serde_json::to_string_pretty(&told).context("encode JSON")? + "\n",
        Output::Table | Output::Wide => text(&told, status.pins.dir()),
    };
    print(&text)?;
    let good = told.running && told.links > 0 && told.live != Some(false);
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn look(bpf_dir: &Path, health: SocketAddr) -> Result<Told> {
    let dir = BpfDir::at(bpf_dir);
    let holder = holder(bpf_dir);
    let mut told = Told {
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
    if told.running {
        told.live = ask::get(health, "/livez").map(|(good, _)| good);
        told.ready = ask::get(health, "/readyz").map(|(good, _)| good);
    }
    match lb0::blocking(lb0::look()) {
        Ok(routed) => told.lb0 = routed,
        Err(problem) => told.lb0_problem = Some(format!("{problem:#}")),
    }
    if !dir.maps().exists() {
        return Ok(told);
    }
    let all = get::open(&dir)?;
    told.frontends = all.len();
    told.without_backends = all.iter().filter(|f| f.without_backends.is_some()).count();
    let backends: BTreeSet<(u32, u64)> = all
        .iter()
        .flat_map(|f| &f.backends)
        .map(|b| (b.id, b.active_connections))
        .collect();
    told.backends = backends.len();
    told.connections = backends.iter().map(|(_, active)| active).sum();
    let reasons = Stats::open(&dir)?.reasons()?;
    told.reasons = reasons
        .into_iter()
        .filter(|(_, n)| *n > 0)
        .map(|(r, n)| (r.name(), n))
        .collect();
    Ok(told)
}

fn text(told: &Told, bpf_dir: &Path) -> String {
    let agent = match (told.running, told.pid) {
        (false, _) => "not running; what is attached works on".to_owned(),
        (true, Some(pid)) => format!("running, pid {pid}"),
        (true, None) => "running".to_owned(),
    };
    let word = |good: Option<bool>, yes: &'static str, no: &'static str| match good {
        Some(true) => yes,
        Some(false) => no,
        None => "unknown: its health address does not answer",
    };
    let mut lines = vec![("Agent", agent)];
    if told.running {
        lines.push(("Live", word(told.live, "yes", "no").to_owned()));
        lines.push((
            "Ready",
            word(
                told.ready,
                "yes",
                "not yet: the first full sync is not written",
            )
            .to_owned(),
        ));
    }
    let programs = match told.links {
        0 => format!("none is attached by {}", bpf_dir.display()),
        n => format!("{n} attached, pinned in {}", bpf_dir.display()),
    };
    lines.push(("Programs", programs));
    let lb0 = match (&told.lb0_problem, told.lb0) {
        (Some(problem), _) => problem.clone(),
        (None, None) => "not there".to_owned(),
        (None, Some(n)) => format!("{n} networks are routed there"),
    };
    lines.push(("lb0", lb0));
    lines.push((
        "Frontends",
        format!(
            "{}, {} of them without a backend",
            told.frontends, told.without_backends
        ),
    ));
    lines.push((
        "Backends",
        format!(
            "{}, with {} connections open",
            told.backends, told.connections
        ),
    ));
    for (reason, n) in &told.reasons {
        lines.push((reason, n.to_string()));
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = lines
        .iter()
        .map(|(name, value)| format!("{name:<width$}  {value}"));
    let mut text = lines.collect::<Vec<_>>().join(
        "
",
    );
    text.push('\n');
    text
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
    fn nothing_there_is_told_and_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let told = look(&dir.path().join("none"), "127.0.0.1:1".parse().unwrap()).unwrap();
        assert!(!told.running && told.links == 0);
        assert!(text(&told, dir.path()).contains("not running"));
    }
}
