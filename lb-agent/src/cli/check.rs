//! `lb-agent check`: what this machine lacks, line by line, each with its remedy.

use std::{path::Path, process::ExitCode};

use anyhow::Result;

use crate::datapath::{cgroup::Cgroup, dir::require_bpffs, probe};

use super::{
    args::{Pins, RunArgs},
    output::print,
};

/// First and last port of our own range for rewritten sources.
const SNAT_PORTS: (u16, u16) = (61000, 65535);

struct Line {
    name: String,
    verdict: Verdict,
    remedy: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// It works without.
    Lacks,
    Bad,
}

/// Carries the verb out; 1 when something that is needed is missing.
pub fn run(pins: &Pins, run: &RunArgs) -> Result<ExitCode> {
    let mut lines: Vec<Line> = probe::checks()
        .into_iter()
        .map(|c| Line {
            name: c.name.to_owned(),
            verdict: match (c.ok, c.required) {
                (true, _) => Verdict::Good,
                (false, false) => Verdict::Lacks,
                (false, true) => Verdict::Bad,
            },
            remedy: c.remedy.to_owned(),
        })
        .collect();
    lines.extend([
        bpf_dir(&pins.bpf_dir),
        cgroup(run.cgroup.as_deref()),
        port_range(),
    ]);
    lines.extend(devices(run));
    let text: String = lines.iter().map(Line::text).collect();
    print(&text)?;
    let bad = lines.iter().any(|l| l.verdict == Verdict::Bad);
    Ok(if bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

impl Line {
    fn new(name: &str, verdict: Verdict, remedy: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            verdict,
            remedy: remedy.into(),
        }
    }

    fn text(&self) -> String {
        let Self {
            name,
            verdict,
            remedy,
        } = self;
        match verdict {
            Verdict::Good => format!("ok       {name}\n"),
            Verdict::Lacks => format!("without  {name}: {remedy}\n"),
            Verdict::Bad => format!("MISSING  {name}: {remedy}\n"),
        }
    }
}

fn bpf_dir(path: &Path) -> Line {
    match require_bpffs(path) {
        Ok(()) => Line::new("bpf file system", Verdict::Good, ""),
        Err(error) => Line::new("bpf file system", Verdict::Bad, format!("{error:#}")),
    }
}

fn cgroup(path: Option<&Path>) -> Line {
    match Cgroup::open(path) {
        Ok(cgroup) if cgroup.is_root() => Line::new("cgroup v2", Verdict::Good, ""),
        Ok(cgroup) => Line::new(
            "root of cgroup v2",
            Verdict::Lacks,
            format!(
                "{} is not it: sockets outside of it are not translated",
                cgroup.path.display()
            ),
        ),
        Err(error) => Line::new("cgroup v2", Verdict::Bad, format!("{error:#}")),
    }
}

/// Ports that the host hands out by itself must not be those that replies of ours come to.
fn port_range() -> Line {
    let name = "ports 61000-65535 for rewritten sources";
    match std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range") {
        Ok(text) if overlaps(&text, SNAT_PORTS) => Line::new(
            name,
            Verdict::Bad,
            format!(
                "net.ipv4.ip_local_port_range is {}: end it at {}",
                text.trim().replace('\t', "-"),
                SNAT_PORTS.0 - 1
            ),
        ),
        Ok(_) => Line::new(name, Verdict::Good, ""),
        Err(error) => Line::new(
            name,
            Verdict::Lacks,
            format!("cannot read net.ipv4.ip_local_port_range: {error}"),
        ),
    }
}

fn overlaps(range: &str, (first, last): (u16, u16)) -> bool {
    let mut ends = range
        .split_whitespace()
        .filter_map(|n| n.parse::<u16>().ok());
    match (ends.next(), ends.next()) {
        (Some(low), Some(high)) => low <= last && high >= first,
        _ => false,
    }
}

fn devices(run: &RunArgs) -> Vec<Line> {
    let named = run
        .attach_xdp
        .iter()
        .chain(&run.attach_tc)
        .chain(run.devices.iter().filter(|d| *d != "auto"));
    named
        .map(|device| {
            let exists = Path::new("/sys/class/net").join(device).exists();
            let verdict = if exists { Verdict::Good } else { Verdict::Bad };
            Line::new(
                &format!("device {device}"),
                verdict,
                "no such device: see `ip link`",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges_that_meet_are_told() {
        assert!(!overlaps("32768\t60999\n", SNAT_PORTS));
        assert!(overlaps("32768\t61000\n", SNAT_PORTS));
        assert!(overlaps("1024\t65535\n", SNAT_PORTS));
        assert!(!overlaps("", SNAT_PORTS));
    }
}
