//! What another process takes off its hook: the agent finds it at the next audit, puts it back,
//! counts it, and is not ready while it cannot.

use std::{fs, os::fd::OwnedFd};

use anyhow::{Context as _, Result, ensure};
use lb_agent::hooks::attach::TcMode;
use lb_sys::Xdp;
use testbed::{
    agent::{self, CHANGE, HEALTH, Start},
    agent_output,
    lan::Client,
    matrix::families,
    one_node::{self, NODE_PORT, OneNode, PORT, WEB_VIP},
    poll,
    probe::{Family, Kind},
};

use crate::datapath::bare_node::tc_mode;

const LOST: &str = "lb_agent_lost_programs_total";

/// A node whose agent audits every second.
fn one_node(start: Start) -> Result<OneNode> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("config.conf");
    let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\niptables: {syncPeriod: 1s}\n";
    fs::write(&path, text)?;
    let path = path.to_str().context("a path of letters")?;
    OneNode::with(start.args(&["--config", path]), |node| {
        vec![one_node::web(node)]
    })
}

/// Takes off what is pinned under a name that begins so.
fn detach(bed: &OneNode, beginning: &str) -> Result<()> {
    let folder = bed.node.bpf_dir().join("links");
    let mut names = fs::read_dir(&folder)?.map(|e| Ok(e?.file_name().into_string()));
    let name = names.find_map(|name: Result<_>| {
        let name = name.ok()?.ok()?;
        name.starts_with(beginning).then_some(name)
    });
    let pin = folder.join(name.with_context(|| format!("no pin {beginning}…"))?);
    lb_sys::detach(lb_sys::open_pin(&pin)?).with_context(|| format!("detach {}", pin.display()))
}

fn node_ports_answer(bed: &OneNode, outside: &Client, kind: Kind) -> Result<()> {
    for family in families() {
        outside.ask(kind, bed.node.addr().at(family, NODE_PORT))?;
    }
    Ok(())
}

/// Once `n` programs have been found lost.
fn until_back(bed: &OneNode, n: f64) -> Result<()> {
    poll::until_true(CHANGE, "the loss is found", || {
        Ok(agent_output::metric(&bed.node, LOST)? > n - 0.5)
    })?;
    poll::until_true(CHANGE, "nothing is missing", || {
        let problems = agent_output::metric(&bed.node, "lb_agent_attach_problems")?;
        Ok(problems < 0.5 && agent::http(&bed.node, HEALTH, "/readyz")?.0 == 200)
    })
}

#[test]
fn programs_that_another_process_detached_from_a_device_are_back_after_an_audit() -> Result<()> {
    let bed = one_node(Start::new())?;
    let outside = bed.lan.client(1)?;
    node_ports_answer(&bed, &outside, Kind::Tcp)?;
    assert!(agent_output::metric(&bed.node, LOST)? < 0.5);
    if tc_mode()? == TcMode::Clsact {
        bed.node
            .run(&["tc", "qdisc", "del", "dev", "eth0", "clsact"])?;
        until_back(&bed, 2.0)?;
    } else {
        detach(&bed, "lb_tc_ingress-")?;
        until_back(&bed, 1.0)?;
        node_ports_answer(&bed, &outside, Kind::Tcp)?;
        detach(&bed, "lb_tc_egress-")?;
        until_back(&bed, 2.0)?;
    }
    for kind in [Kind::Tcp, Kind::Udp] {
        node_ports_answer(&bed, &outside, kind)?;
    }
    let log = bed.agent.as_ref().context("it runs")?.log()?;
    ensure!(
        log.contains("another process detached this program") && log.contains("eth0"),
        "{log}"
    );
    Ok(())
}

#[test]
fn socket_programs_that_another_process_detached_are_back_after_an_audit() -> Result<()> {
    let bed = one_node(Start::new())?;
    let vip = |family: Family| WEB_VIP.at(family, PORT);
    let mut lost = 0.0;
    for (program, family) in [("lb_connect4", Family::V4), ("lb_connect6", Family::V6)] {
        bed.client().ask(Kind::Tcp, vip(family))?;
        detach(&bed, program)?;
        lost += 1.0;
        until_back(&bed, lost)?;
        let sock = bed.client().connect(Kind::Tcp, vip(family))?;
        // Translated at connect(), not by lb0: the socket knows its VIP.
        assert_eq!(sock.peer()?, vip(family));
        sock.ask("again")?;
    }
    // The pin alone, which ends the link too.
    fs::remove_file(bed.node.bpf_dir().join("links/lb_sendmsg4"))?;
    until_back(&bed, lost + 1.0)?;
    let sock = bed.client().socket(Kind::Udp, Family::V4)?;
    sock.ask_at(vip(Family::V4), "unconnected")?;
    Ok(())
}

/// Puts a program of other software in the place of the agent's XDP program, however often the
/// agent is faster.
fn take_xdp(bed: &OneNode) -> Result<OwnedFd> {
    let other = lb_sys::xdp_pass()?;
    poll::until(CHANGE, "another program has the hook", || {
        detach(bed, "lb_xdp-")?;
        let link = bed.node.block(|| {
            let ifindex = nix::net::if_::if_nametoindex("eth0")?;
            Ok(lb_sys::create_xdp(&other, ifindex, Xdp::Native).ok())
        })?;
        Ok(link)
    })
}

#[test]
fn the_agent_is_not_ready_while_what_was_detached_cannot_be_attached() -> Result<()> {
    let bed = one_node(Start::new().xdp("eth0"))?;
    let outside = bed.lan.client(1)?;
    node_ports_answer(&bed, &outside, Kind::Tcp)?;
    let theirs = take_xdp(&bed)?;
    poll::until_true(CHANGE, "the agent says that a program is missing", || {
        let (status, body) = agent::http(&bed.node, HEALTH, "/readyz")?;
        Ok(status == 503 && body.contains("\"missingPrograms\":1"))
    })?;
    // Set a moment later than the answer of the server.
    poll::until_true(CHANGE, "the problem is counted", || {
        Ok(agent_output::metric(&bed.node, "lb_agent_attach_problems")? > 0.5)
    })?;
    let binary = agent::binary()?.display().to_string();
    let dir = bed.node.bpf_dir().display().to_string();
    let check = bed
        .node
        .output(&[binary.as_str(), "check", "--bpf-dir", &dir])?;
    ensure!(
        check
            .stdout
            .contains("FAIL  all programs attached: 1 are not"),
        "{}",
        check.stdout
    );
    // tc is there still.
    node_ports_answer(&bed, &outside, Kind::Tcp)?;
    drop(theirs);
    until_back(&bed, 1.0)?;
    node_ports_answer(&bed, &outside, Kind::Tcp)
}
