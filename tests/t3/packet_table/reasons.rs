//! Every reason that the programs count has a row, or an excuse that says where it is shown.

use std::{collections::BTreeSet, fmt::Write as _};

use anyhow::{Result, ensure};
use lb_common::Reason;

use super::rows;

/// Why a reason has no row.
enum Excuse {
    /// A test of this name shows it, in a file with this text: no frame shows sockets.
    Socket(&'static str, &'static str),
    /// No test can ask for it, or none does yet.
    NotAskedFor(&'static str),
}

const REACH: &str = include_str!("../socket_reach.rs");
const SWITCH: &str = include_str!("../datapath_switch.rs");
const METRICS: &str = include_str!("../agent_manifests.rs");
const CHOICE: &str = include_str!("../../t4/referee/choice.rs");

const EXCUSES: &[(Reason, Excuse)] = &[
    (
        Reason::SockTranslated,
        Excuse::Socket("health_and_metrics_are_served", METRICS),
    ),
    (
        Reason::SockNoEndpoint,
        Excuse::Socket("a_service_without_endpoints_refuses_at_once", REACH),
    ),
    (
        Reason::SockNoLocalEndpoint,
        Excuse::Socket("the_agent_chooses_endpoints_as_kube_proxy_does", CHOICE),
    ),
    (
        Reason::SockUnknownPort,
        Excuse::Socket(
            "a_port_that_a_vip_does_not_define_is_refused_where_somebody_would_wait",
            REACH,
        ),
    ),
    (
        Reason::SockStorageFailed,
        Excuse::NotAskedFor("a socket must have used up its option memory; no test does that"),
    ),
    (
        Reason::BindHeld,
        Excuse::Socket("node_ports_are_held_in_the_hosts_namespace_alone", REACH),
    ),
    (
        Reason::UdpPeerFailed,
        Excuse::NotAskedFor("an LRU map takes every entry; only the kernel's own memory can fail"),
    ),
    (
        Reason::SlotRetried,
        Excuse::Socket(
            "no_reader_sees_a_half_written_or_foreign_service_at_full_speed",
            SWITCH,
        ),
    ),
    (
        Reason::FlowInsertFailed,
        Excuse::NotAskedFor("an LRU map takes every entry; only a race with another CPU fails"),
    ),
    (
        Reason::PktWriteFailed,
        Excuse::NotAskedFor("the programs write only what they have read, so only memory can fail"),
    ),
];

#[test]
fn every_reason_has_a_row_or_an_excuse() -> Result<()> {
    // Marked rows too: they say what is right.
    let rows = rows::all();
    let shown: BTreeSet<Reason> = rows
        .iter()
        .flat_map(|row| {
            row.steps
                .iter()
                .flat_map(|step| step.counted.iter().copied())
        })
        .collect();
    let mut wrong = String::new();
    for reason in Reason::ALL {
        let excuses = EXCUSES.iter().filter(|(of, _)| of == reason).count();
        let said = match (shown.contains(reason), excuses) {
            (true, 0) | (false, 1) => continue,
            (true, _) => "has a row: its excuse is no longer needed",
            (false, 0) => "has neither a row nor an excuse",
            (false, _) => "has several excuses",
        };
        let _ = writeln!(wrong, "{} {said}", reason.name());
    }
    for (reason, excuse) in EXCUSES {
        match excuse {
            Excuse::Socket(test, file) if !file.contains(&format!("fn {test}(")) => {
                let _ = writeln!(wrong, "{}: there is no test {test}", reason.name());
            }
            Excuse::NotAskedFor("") => {
                let _ = writeln!(wrong, "{}: an empty excuse", reason.name());
            }
            Excuse::Socket(..) | Excuse::NotAskedFor(_) => {}
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(())
}
