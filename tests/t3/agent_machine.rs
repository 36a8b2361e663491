//! The agent and the machine: who may run, with which rights, and what is left when it goes.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use testbed::{
    agent::{self, CHANGE, Start},
    agent_output,
    matrix::kinds,
    one_node::{self, NODE_PORT, OneNode, PORT, WEB_VIP},
    poll,
    probe::{Family, Kind},
};

#[test]
fn a_second_agent_on_the_same_pins_refuses() -> Result<()> {
    let bed = OneNode::new()?;
    let args = [
        "--health-bind-address",
        "127.0.0.1:20256",
        "--metrics-bind-address",
        "127.0.0.1:20249",
    ];
    let binary = agent::binary()?.display().to_string();
    let dir = bed.node.bpf_dir().display().to_string();
    let manifests = bed.node.manifests().display().to_string();
    let cgroup = bed.node.root_cgroup().path().display().to_string();
    let state = bed.node.files().join("second").display().to_string();
    let flags = [
        binary.as_str(),
        "--manifests",
        &manifests,
        "--node-name",
        bed.node.name(),
        "--bpf-dir",
        &dir,
        "--cgroup",
        &cgroup,
        "--state-dir",
        &state,
    ];
    let output = bed.node.output(&[&flags[..], &args].concat())?;
    ensure!(!output.status.success(), "it started");
    let said = [output.stdout, output.stderr].concat();
    ensure!(
        said.contains(&dir),
        "it did not say which directory is taken: {said}"
    );
    // `cleanup` would pull the ground from under the first.
    ensure!(
        agent::verb(&bed.node, &["cleanup"]).is_err(),
        "cleanup ran under a living agent"
    );
    bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    Ok(())
}

#[test]
fn a_stopped_agent_leaves_the_data_path_and_cleanup_takes_it() -> Result<()> {
    let mut bed = OneNode::with(Start::new().xdp("eth0"), |node| vec![one_node::web(node)])?;
    let outside = bed.lan.client(1)?;
    let node_port = bed.node.addr().at(Family::V4, NODE_PORT);
    ensure!(bed.agent.take().context("it runs")?.stop()?.success());
    for kind in kinds() {
        bed.client().ask(kind, WEB_VIP.at(Family::V6, PORT))?;
        outside.ask(kind, node_port)?;
    }
    agent::verb(
        &bed.node,
        &[
            "cleanup",
            "--state-dir",
            &bed.node.files().join("state").display().to_string(),
        ],
    )?;
    ensure!(
        !bed.node.bpf_dir().exists() || fs::read_dir(bed.node.bpf_dir())?.next().is_none(),
        "pins are left"
    );
    let cgroup = bed.node.root_cgroup().path().display().to_string();
    let attached = || -> Result<String> {
        let in_cgroup = bed.node.run(&["bpftool", "cgroup", "show", &cgroup])?;
        let on_devices = bed.node.run(&["bpftool", "net", "show"])?;
        Ok([in_cgroup, on_devices].concat())
    };
    // Links go with their last reference, which the kernel drops a moment later.
    poll::until(CHANGE, "no program is attached", || {
        let text = attached()?;
        ensure!(!text.contains("lb_"), "{text}");
        Ok(Some(()))
    })?;
    let links = bed.node.run(&["ip", "link"])?;
    ensure!(!links.contains("xdp") && !links.contains("lb0"), "{links}");
    let refused = outside
        .connect(Kind::Tcp, node_port)
        .expect_err("no program translates it");
    assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));
    // And again: there is nothing to do, which is no failure.
    agent::verb(
        &bed.node,
        &[
            "cleanup",
            "--state-dir",
            &bed.node.files().join("state").display().to_string(),
        ],
    )?;
    // A fresh start on the clean ground.
    bed.agent = Some(Start::new().on(&bed.node)?);
    bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    Ok(())
}

#[test]
fn three_capabilities_are_enough() -> Result<()> {
    let few = [
        "setpriv",
        "--bounding-set=-all,+bpf,+net_admin,+perfmon",
        "--no-new-privs",
        "--",
    ];
    let mut bed = OneNode::with(Start::new().xdp("eth0").under(&few), |node| {
        vec![one_node::web(node)]
    })?;
    let status = fs::read_to_string(format!(
        "/proc/{}/status",
        bed.agent.as_ref().context("it runs")?.pid()
    ))?;
    // CAP_NET_ADMIN 12, CAP_PERFMON 38, CAP_BPF 39: nothing else is in force.
    ensure!(status.contains("CapEff:\t000000c000001000"), "{status}");
    let outside = bed.lan.client(1)?;
    for kind in kinds() {
        bed.client().ask(kind, WEB_VIP.at(Family::V4, PORT))?;
        outside.ask(kind, bed.node.addr().at(Family::V4, NODE_PORT))?;
    }
    // Restarting, and following a change, takes no more.
    bed.agent.take().context("it runs")?.kill()?;
    bed.agent = Some(Start::new().xdp("eth0").under(&few).on(&bed.node)?);
    bed.apply(&one_node::web(&bed.node).endpoints(one_node::web_pods(&bed.node)[..1].to_vec()))?;
    poll::until_true(CHANGE, "the change is there", || {
        Ok(
            agent_output::frontend(&bed.node, "TCP", &WEB_VIP.v4.to_string(), PORT)?
                .backends
                .len()
                == 1,
        )
    })
}
