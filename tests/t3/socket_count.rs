//! The socket path: open connections are counted, whatever becomes of their sockets, and a wrong
//! count is repaired.

use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::{
    addr,
    agent::Start,
    agent_output,
    matrix::kinds,
    one_node::{self, OneNode, PORT, TARGET, WEB, WEB_VIP},
    poll,
    probe::{Family, Kind, Probe},
};

/// Closing takes a moment on the wire; the recount comes every few seconds.
const SETTLING: Duration = Duration::from_secs(30);

fn settles_at(bed: &OneNode, expected: u64) -> Result<()> {
    poll::until(
        SETTLING,
        &format!("{expected} connections are counted"),
        || {
            let active = agent_output::active(&bed.node)?;
            ensure!(active.values().sum::<u64>() == expected, "{active:?}");
            Ok(Some(()))
        },
    )
}

#[test]
fn connections_are_counted_from_connect_to_close() -> Result<()> {
    let bed = OneNode::new()?;
    let tos = [
        WEB_VIP.at(Family::V4, PORT),
        WEB_VIP.at(Family::V6, PORT),
        WEB_VIP.mapped(PORT),
    ];
    for kind in kinds() {
        let mut held = Vec::new();
        for to in tos {
            for _ in 0..4 {
                let sock = bed.client().connect(kind, to)?;
                sock.ask("hello")?;
                held.push(sock);
            }
        }
        // At once, without a recount.
        assert_eq!(agent_output::all_active(&bed.node)?, 12, "{kind:?}");
        held.truncate(5);
        settles_at(&bed, 5)?;
        held.clear();
        settles_at(&bed, 0)?;
    }
    Ok(())
}

#[test]
fn each_backend_has_its_own_count() -> Result<()> {
    let bed = OneNode::new()?;
    let mut held = Vec::new();
    let mut expected = std::collections::BTreeMap::new();
    for _ in 0..15 {
        let sock = bed
            .client()
            .connect(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
        *expected.entry(sock.ask("hello")?.name).or_insert(0_u64) += 1;
        held.push(sock);
    }
    let active = agent_output::active(&bed.node)?;
    for (index, name) in WEB.iter().enumerate() {
        let at = bed
            .node
            .pod(index)
            .addr()
            .at(Family::V4, TARGET)
            .to_string();
        assert_eq!(
            active.get(&at).copied().unwrap_or(0),
            expected.get(*name).copied().unwrap_or(0),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn what_fails_or_is_not_translated_is_not_counted() -> Result<()> {
    let closed = addr::vip(50);
    let bed = OneNode::with(Start::new(), |node| {
        vec![
            one_node::web(node),
            one_node::behind("closed", closed, &one_node::web_pods(node)).port(PORT, 9191),
        ]
    })?;
    let sock = bed.client().socket(Kind::Tcp, Family::V4)?;
    for _ in 0..3 {
        assert!(sock.connect(closed.at(Family::V4, PORT)).is_err());
    }
    let direct = bed
        .client()
        .connect(Kind::Tcp, bed.node.pod(0).addr().at(Family::V4, TARGET))?;
    direct.ask("hello")?;
    // Unconnected sockets have no connection.
    let unconnected = bed.client().socket(Kind::Udp, Family::V4)?;
    unconnected.ask_at(WEB_VIP.at(Family::V4, PORT), "hello")?;
    settles_at(&bed, 0)
}

#[test]
fn a_socket_that_moves_takes_its_count_along() -> Result<()> {
    let bed = OneNode::new()?;
    let (vip, direct) = (
        WEB_VIP.at(Family::V4, PORT),
        bed.node.pod(0).addr().at(Family::V4, TARGET),
    );
    let sock = bed.client().connect(Kind::Udp, vip)?;
    assert_eq!(agent_output::all_active(&bed.node)?, 1);
    sock.connect(direct)?;
    assert_eq!(agent_output::all_active(&bed.node)?, 0);
    for _ in 0..5 {
        sock.connect(vip)?;
        assert_eq!(agent_output::all_active(&bed.node)?, 1);
    }
    Ok(())
}

#[test]
fn a_connection_ends_with_its_last_holder() -> Result<()> {
    let bed = OneNode::new()?;
    for kind in kinds() {
        let sock = bed.client().connect(kind, WEB_VIP.at(Family::V4, PORT))?;
        sock.ask("hello")?;
        let child = sock.share()?;
        sock.close();
        assert_eq!(
            agent_output::all_active(&bed.node)?,
            1,
            "{kind:?}: the child still has it"
        );
        child.end()?;
        settles_at(&bed, 0)?;
    }
    Ok(())
}

#[test]
fn mptcp_counts_as_one() -> Result<()> {
    let bed = OneNode::new()?;
    for pod in &bed.node.pods()[..WEB.len()] {
        pod.serve_as(TARGET + 1, Kind::Mptcp)?;
    }
    let speaking =
        one_node::behind("m", addr::vip(51), &one_node::web_pods(&bed.node)).port(PORT, TARGET + 1);
    bed.apply(&speaking)?;
    for vip in [WEB_VIP, addr::vip(51)] {
        let to = vip.at(Family::V4, PORT);
        // A connect that is older than the service goes over lb0 as soon as the service is there,
        // and counts nowhere.
        poll::until(testbed::agent::CHANGE, "the service answers", || {
            Ok(bed.client().ask(Kind::Mptcp, to).ok())
        })?;
        settles_at(&bed, 0)?;
        let sock = bed.client().connect(Kind::Mptcp, to)?;
        sock.ask("hello")?;
        assert_eq!(agent_output::all_active(&bed.node)?, 1);
        sock.close();
        settles_at(&bed, 0)?;
    }
    Ok(())
}

#[test]
fn a_killed_process_leaves_no_count() -> Result<()> {
    let bed = OneNode::new()?;
    let doomed = Probe::start(bed.client().sandbox())?;
    let mut held = Vec::new();
    for kind in kinds() {
        for _ in 0..3 {
            let sock = doomed.connect(kind, WEB_VIP.at(Family::V4, PORT))?;
            sock.ask("hello")?;
            held.push(sock);
        }
    }
    assert_eq!(agent_output::all_active(&bed.node)?, 6);
    doomed.kill();
    settles_at(&bed, 0)
}

#[test]
fn a_recount_repairs_what_has_drifted() -> Result<()> {
    let bed = OneNode::new()?;
    let sock = bed
        .client()
        .connect(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    sock.ask("hello")?;
    let backend =
        agent_output::frontend(&bed.node, "TCP", &WEB_VIP.v4.to_string(), PORT)?.backends[0].id;
    // Seven too many, as lost events would leave them.
    let map = bed.node.map_pin("lb_active");
    let key = backend.to_le_bytes().map(|byte| byte.to_string());
    let mut words: Vec<&str> = ["bpftool", "map", "update", "pinned", &map, "key"].into();
    words.extend(key.iter().map(String::as_str));
    words.extend(["value", "8", "0", "0", "0", "0", "0", "0", "0"]);
    bed.node.run(&words)?;
    ensure!(agent_output::all_active(&bed.node)? >= 7);
    settles_at(&bed, 1)
}

#[test]
fn taking_turns_is_taking_turns() -> Result<()> {
    let vip = addr::vip(52);
    let bed = OneNode::with(Start::new(), |node| {
        let service = one_node::behind("turns", vip, &one_node::web_pods(node)).port(PORT, TARGET);
        vec![service.annotate("lb-agent.io/scheduler", "rr")]
    })?;
    for _ in 0..3 {
        let mut names = Vec::new();
        for _ in WEB {
            names.push(bed.client().ask(Kind::Tcp, vip.at(Family::V4, PORT))?.name);
        }
        names.sort();
        assert_eq!(names, WEB);
    }
    Ok(())
}
