//! `lb-agent check`: what this machine lacks, line by line, each with its remedy.

use std::{path::Path, process::ExitCode};

use anyhow::Result;

use crate::{
    hooks::cgroup::Cgroup, lb0, load::probe, maps::dir::require_bpffs, settings::flags::DeviceArgs,
};

use super::{args::Check, ask, output::print};

mod leftovers;

/// First and last port of our own range for rewritten sources.
const SNAT_PORTS: (u16, u16) = (61000, 65535);

/// A map fuller than this is told.
const ALMOST_FULL: f64 = 0.9;

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
    /// It works, and somebody should look at it.
    Odd,
    Bad,
}

/// Carries the verb out; 1 when something that is needed is missing.
pub fn run(args: &Check) -> Result<ExitCode> {
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
        bpf_dir(args.pins.dir()),
        cgroup(args.cgroup.cgroup.as_deref()),
        port_range(),
        forwarding("IPv4 forwarding", "net.ipv4.ip_forward"),
        forwarding("IPv6 forwarding", "net.ipv6.conf.all.forwarding"),
        device_lb0(),
    ]);
    lines.extend(devices(&args.devices));
    lines.extend(leftovers::lines(args.pins.dir()));
    lines.extend(running(args.metrics.address()));
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
            Verdict::Odd => format!("NOTE     {name}: {remedy}\n"),
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

/// Packets for backends of other nodes, and for pods, are passed on by the kernel's rules.
fn forwarding(name: &str, key: &str) -> Line {
    let path = Path::new("/proc/sys").join(key.replace('.', "/"));
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim() == "0" => Line::new(
            name,
            Verdict::Lacks,
            format!(
                "{key} is 0, so that nothing is passed on to pods and to other nodes: set it to 1"
            ),
        ),
        Ok(_) => Line::new(name, Verdict::Good, ""),
        Err(error) => Line::new(name, Verdict::Lacks, format!("cannot read {key}: {error}")),
    }
}

/// The names of the devices that VIPs are routed to are free, or ours.
fn device_lb0() -> Line {
    let name = "device lb0";
    match lb0::blocking(lb0::look()) {
        Ok(Some(n)) => Line::new(
            &format!("{name} ({n} networks routed there)"),
            Verdict::Good,
            "",
        ),
        Ok(None) => Line::new(
            name,
            Verdict::Lacks,
            "not there, so that service addresses answer no ping: a running agent makes it unless started with --lb0 off",
        ),
        Err(problem) => Line::new(name, Verdict::Bad, format!("{problem:#}")),
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

fn devices(args: &DeviceArgs) -> Vec<Line> {
    let named = [&args.attach_xdp, &args.attach_tc, &args.devices];
    let named = named.into_iter().flatten().flatten();
    named
        .filter(|device| *device != "auto")
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

/// What a running agent says of its own work: Services, maps and files that are not as they should be.
fn running(metrics: std::net::SocketAddr) -> Vec<Line> {
    match ask::get(metrics, "/metrics") {
        Some((true, text)) => troubles(&text),
        _ => vec![Line::new(
            "running agent",
            Verdict::Lacks,
            format!("none answers at {metrics}, so its own troubles are not known"),
        )],
    }
}

/// What the last audit of the maps found; repaired meanwhile, but somebody is at it.
fn drift(metrics: &str) -> Line {
    let maps = metrics.lines().filter_map(|l| {
        l.strip_prefix("lb_map_drift_entries{map=\"")?
            .split_once("\"} ")
    });
    let found: Vec<String> = maps
        .filter(|(_, n)| *n != "0")
        .map(|(map, n)| format!("{n} of {map}"))
        .collect();
    let verdict = if found.is_empty() {
        Verdict::Good
    } else {
        Verdict::Bad
    };
    let remedy = format!(
        "entries were changed by somebody else ({}): see the agent's log, and who else writes there",
        found.join(", ")
    );
    Line::new("maps hold what was written", verdict, remedy)
}

fn troubles(metrics: &str) -> Vec<Line> {
    let value = |name: &str| {
        let line = metrics
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0)
    };
    let mut lines = Vec::new();
    for (name, what, remedy) in [
        (
            "lb_services_with_problems",
            "Services are honoured whole",
            "Services are not: see the agent's log, or their Events",
        ),
        (
            "lb_bad_manifests",
            "manifests can be read",
            "files cannot: see the agent's log",
        ),
        (
            "lb_missing_devices",
            "named devices are there",
            "are not: compare --devices and --attach-xdp with `ip link`",
        ),
        (
            "lb_lb0_problems",
            "lb0 and its routes are as they should be",
            "things about them are not: see the agent's log",
        ),
        (
            "lb_attach_problems",
            "programs are attached",
            "are not: see the agent's log",
        ),
    ] {
        let n = value(name);
        let verdict = if n > 0.0 { Verdict::Bad } else { Verdict::Good };
        lines.push(Line::new(what, verdict, format!("{n} {remedy}")));
    }
    lines.push(drift(metrics));
    lines.push(stale_udp(
        value("lb_udp_reset_enabled") > 0.0,
        value("lb_udp_sockets_stale"),
    ));
    for line in metrics.lines() {
        let Some((map, _)) = line
            .strip_prefix("lb_map_entries{map=\"")
            .and_then(|l| l.split_once('"'))
        else {
            continue;
        };
        let entries = value(&format!("lb_map_entries{{map=\"{map}\"}}"));
        let most = value(&format!("lb_map_max_entries{{map=\"{map}\"}}"));
        if most > 0.0 && entries / most > ALMOST_FULL {
            let remedy =
                format!("{entries} of {most} entries: start the agent with --map-capacity {map}=N");
            lines.push(Line::new(&format!("room in {map}"), Verdict::Bad, remedy));
        }
    }
    lines
}

/// Without the right to enter namespaces it is a choice; with it, what is left over is a trouble.
fn stale_udp(enabled: bool, stale: f64) -> Line {
    let name = "connected UDP sockets follow their Service";
    if enabled {
        let verdict = if stale > 0.0 {
            Verdict::Bad
        } else {
            Verdict::Good
        };
        return Line::new(
            name,
            verdict,
            format!("{stale} do not: see the agent's log"),
        );
    }
    let remedy = format!(
        "stale ones are not repaired ({stale} now): needs --socket-reset auto and CAP_SYS_ADMIN; set socketReset: true in the chart"
    );
    Line::new(name, Verdict::Lacks, remedy)
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

    #[test]
    fn stale_udp_is_a_trouble_only_where_it_could_be_repaired() {
        for (enabled, stale, verdict, words) in [
            (true, 0.0, Verdict::Good, "follow their Service"),
            (true, 3.0, Verdict::Bad, "3 do not"),
            (
                false,
                0.0,
                Verdict::Lacks,
                "needs --socket-reset auto and CAP_SYS_ADMIN",
            ),
            (false, 2.0, Verdict::Lacks, "(2 now)"),
        ] {
            let line = stale_udp(enabled, stale);
            assert!(line.verdict == verdict && line.text().contains(words));
        }
    }

    #[test]
    fn a_running_agents_troubles_are_told() {
        let metrics = "lb_services_with_problems 2\nlb_bad_manifests 0\nlb_attach_problems 3\nlb_map_entries{map=\"lb_pools\"} 95\nlb_map_max_entries{map=\"lb_pools\"} 100\nlb_map_drift_entries{map=\"lb_pools\"} 0\nlb_map_drift_entries{map=\"lb_slots\"} 4\n";
        let bad: Vec<String> = troubles(metrics)
            .iter()
            .filter(|l| l.verdict == Verdict::Bad)
            .map(Line::text)
            .collect();
        assert_eq!(bad.len(), 4, "{bad:?}");
        assert!(
            bad[0].contains("2 Services")
                && bad[1].contains("3 are not")
                && bad[2].contains("(4 of lb_slots)")
                && bad[3].contains("lb_pools=N"),
            "{bad:?}"
        );
    }
}
