//! What `lb-agent check` reads from the metrics of a running agent.

use std::net::SocketAddr;

use super::{Line, Verdict, scrape::Scrape, topics::Topic};
use crate::{
    cli::ask,
    observe::{kernel::is_almost_full, names},
};

/// What it is about; a metric that is above 0 when something is wrong; what is checked; and what is
/// wrong, behind the number.
const COUNTS: [(Topic, &str, &str, &str); 7] = [
    (
        Topic::Services,
        names::SERVICES_WITH_PROBLEMS,
        "all Services fully programmed",
        "Services are not; see the agent's log or the Events of the Services",
    ),
    (
        Topic::Manifests,
        names::BAD_MANIFESTS,
        "all manifests readable",
        "files are not; see the agent's log",
    ),
    (
        Topic::Devices,
        names::MISSING_DEVICES,
        "all named devices present",
        "are not; compare --devices and --attach-xdp with `ip link`",
    ),
    (
        Topic::Devices,
        names::LEFT_OUT_DEVICES,
        "all devices watched that endpoints of other nodes are behind",
        "are not; name them in --devices too (see the agent's log), or use --devices auto",
    ),
    (
        Topic::Lb0,
        names::LB0_PROBLEMS,
        "lb0 and its routes in place",
        "problems; see the agent's log",
    ),
    (
        Topic::Masquerading,
        names::MASQUERADE_PROBLEMS,
        "sources are masqueraded where Services ask for snat",
        "problem: backends on this node see clients; see the agent's log",
    ),
    (
        Topic::Programs,
        names::ATTACH_PROBLEMS,
        "all programs attached",
        "are not; see the agent's log",
    ),
];

/// What a running agent reports on itself.
pub(super) fn lines(metrics: SocketAddr) -> Vec<Line> {
    match ask::get(metrics, "/metrics") {
        Some((true, text)) => reported(&Scrape(&text)),
        _ => vec![Line::new(
            Topic::RunningAgent,
            "running agent",
            Verdict::Warn,
            format!("no agent answers at {metrics}, so its problems are unknown"),
        )],
    }
}

fn reported(metrics: &Scrape<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (topic, name, what, remedy) in COUNTS {
        let n = metrics.value(name);
        lines.push(Line::fails_if(
            topic,
            n > 0.0,
            what,
            format!("{n} {remedy}"),
        ));
    }
    lines.extend(misplaced(metrics.value(names::MISPLACED_PROGRAMS)));
    lines.push(unwatched(metrics));
    lines.extend(ports(metrics));
    lines.push(drift(metrics));
    let reset = if metrics.value(names::UDP_RESET_ENABLED) > 0.0 {
        SocketReset::Enabled
    } else {
        SocketReset::Disabled
    };
    lines.push(stale_udp(reset, metrics.value(names::UDP_STALE)));
    lines.extend(full_maps(metrics));
    lines
}

/// The last map audit has repaired what it found, but another process may change it again.
fn drift(metrics: &Scrape<'_>) -> Line {
    let found: Vec<String> = metrics
        .by_map(names::MAP_DRIFT)
        .filter(|(_, n)| *n > 0.0)
        .map(|(map, n)| format!("{n} of {map}"))
        .collect();
    let remedy = format!(
        "another process changed entries ({}); see the agent's log, and find out what else writes to the maps",
        found.join(", ")
    );
    Line::fails_if(
        Topic::Drift,
        !found.is_empty(),
        "no drift in the maps",
        remedy,
    )
}

/// `--devices` may leave a device out on purpose.
fn unwatched(metrics: &Scrape<'_>) -> Line {
    let name = "every device that replies leave by is watched";
    let by_device = metrics.by_label(names::UNWATCHED_DEVICES, names::DEVICE);
    let devices: Vec<&str> = by_device.map(|(device, _)| device).collect();
    if devices.is_empty() {
        return Line::ok(Topic::Devices, name);
    }
    let remedy = format!(
        "{} are not, and routes lead out there; add them to --devices or --attach-tc, or start with --devices auto",
        devices.join(", ")
    );
    Line::new(Topic::Devices, name, Verdict::Warn, remedy)
}

/// Numbers that a Service and this machine both use.
fn ports(metrics: &Scrape<'_>) -> [Line; 2] {
    let line = |name: &str, n: f64, remedy: &str| {
        if n > 0.0 {
            Line::new(
                Topic::NodePorts,
                name,
                Verdict::Warn,
                format!("{n} {remedy}"),
            )
        } else {
            Line::ok(Topic::NodePorts, name)
        }
    };
    [
        line(
            "no listener behind a node port",
            metrics.value(names::HIDDEN_LISTENERS),
            "sockets of this node listen where a Service takes the packets; see the agent's log, the Events of the Services, and `ss -lntup`",
        ),
        line(
            "node ports outside of net.ipv4.ip_local_port_range",
            metrics.value(names::NODE_PORTS_IN_LOCAL_RANGE),
            "are inside: move the range, or add them to net.ipv4.ip_local_reserved_ports",
        ),
    ]
}

/// Other software may have its reasons to go first.
fn misplaced(programs: f64) -> Option<Line> {
    (programs > 0.0).then(|| {
        let remedy = format!(
            "{programs} programs run behind other software's at ingress, or before it at egress; see the agent's log and `bpftool net show`"
        );
        Line::new(Topic::Programs, "order of programs on devices", Verdict::Note, remedy)
    })
}

fn full_maps(metrics: &Scrape<'_>) -> Vec<Line> {
    let limits: Vec<(&str, f64)> = metrics.by_map(names::MAP_MAX_ENTRIES).collect();
    let fills = metrics.by_map(names::MAP_ENTRIES).filter_map(|(map, n)| {
        let limit = limits.iter().find(|(name, _)| *name == map)?;
        Some((map, n, limit.1))
    });
    fills
        .filter(|(_, entries, most)| is_almost_full(*entries, *most))
        .map(|(map, entries, most)| {
            let remedy =
                format!("{entries} of {most} entries; start the agent with --map-capacity {map}=N");
            Line::new(
                Topic::FullMaps,
                &format!("room in {map}"),
                Verdict::Fail,
                remedy,
            )
        })
        .collect()
}

/// Whether the agent resets UDP sockets of backends that are gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SocketReset {
    Enabled,
    /// By `--socket-reset off`, or for want of CAP_SYS_ADMIN.
    Disabled,
}

/// Not being allowed to enter namespaces is a choice; if the agent may enter them, stale sockets
/// are a failure.
fn stale_udp(reset: SocketReset, stale: f64) -> Line {
    let name = "connected UDP sockets follow their Service";
    if reset == SocketReset::Enabled {
        let remedy = format!("{stale} do not; see the agent's log");
        return Line::fails_if(Topic::UdpSockets, stale > 0.0, name, remedy);
    }
    let remedy = format!(
        "stale sockets are not reset ({stale} now); this needs --socket-reset auto and CAP_SYS_ADMIN: set socketReset: true in the chart"
    );
    Line::new(Topic::UdpSockets, name, Verdict::Warn, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_udp_fails_only_where_it_could_be_repaired() {
        for (reset, stale, verdict, words) in [
            (
                SocketReset::Enabled,
                0.0,
                Verdict::Ok,
                "follow their Service",
            ),
            (SocketReset::Enabled, 3.0, Verdict::Fail, "3 do not"),
            (
                SocketReset::Disabled,
                0.0,
                Verdict::Warn,
                "needs --socket-reset auto and CAP_SYS_ADMIN",
            ),
            (SocketReset::Disabled, 2.0, Verdict::Warn, "(2 now)"),
        ] {
            let line = stale_udp(reset, stale);
            assert!(line.verdict == verdict && line.text().contains(words));
        }
    }

    #[test]
    fn problems_of_a_running_agent_are_reported() {
        let metrics = "lb_agent_services_with_problems 2\nlb_agent_bad_manifests 0\nlb_agent_attach_problems 3\nlb_agent_map_entries{map=\"x\"} 95\nlb_agent_map_max_entries{map=\"x\"} 100\nlb_agent_map_drift_entries{map=\"x\"} 0\nlb_agent_map_drift_entries{map=\"y\"} 4\n";
        let failed: Vec<String> = reported(&Scrape(metrics))
            .iter()
            .filter(|l| l.verdict == Verdict::Fail)
            .map(Line::text)
            .collect();
        assert_eq!(failed.len(), 4, "{failed:?}");
        assert!(
            failed[0].contains("2 Services")
                && failed[1].contains("3 are not")
                && failed[2].contains("(4 of y)")
                && failed[3].contains("x=N"),
            "{failed:?}"
        );
    }
}
