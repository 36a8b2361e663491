//! The agent and the machine: who may run, with which rights, and what is left when it goes.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use testbed::agent::{self, CHANGE, Start};
use testbed::poll;
use testbed::probe::{Family, Kind};
use testbed::scene::{self, NODE_PORT, PORT, Scene, WEB_VIP};
use testbed::shown;

#[test]
fn a_second_agent_on_the_same_pins_refuses() -> Result<()> {
    let scene = Scene::new()?;
    let args = [
        "--health-bind-address",
        "127.0.0.1:20256",
        "--metrics-bind-address",
        "127.0.0.1:20249",
    ];
    let binary = agent::binary()?.display().to_string();
    let dir = scene.node.bpf_dir().display().to_string();
    let manifests = scene.node.manifests().display().to_string();
    let cgroup = scene.node.root_cgroup().path().display().to_string();
    let state = scene.node.files().join("second").display().to_string();
    let flags = [
        binary.as_str(),
        "--manifests",
        &manifests,
        "--node-name",
        scene.node.name(),
        "--bpf-dir",
        &dir,
        "--cgroup",
        &cgroup,
        "--state-dir",
        &state,
    ];
    let output = scene.node.output(&[&flags[..], &args].concat())?;
    ensure!(!output.status.success(), "it started");
    let said = [output.stdout, output.stderr].concat();
    ensure!(
        said.contains(&dir),
        "it did not say which directory is taken: {said}"
    );
    // `cleanup` would pull the ground from under the first.
    ensure!(
        agent::verb(&scene.node, &["cleanup"]).is_err(),
        "cleanup ran under a living agent"
    );
    scene
        .client()
        .ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    Ok(())
}

#[test]
fn a_stopped_agent_leaves_the_data_path_and_cleanup_takes_it() -> Result<()> {
    let mut scene = Scene::with(Start::new().xdp("eth0"), |node| vec![scene::web(node)])?;
    let outside = scene.lan.client(1)?;
    let knock = scene.node.addr().at(Family::V4, NODE_PORT);
    ensure!(scene.agent.take().context("it runs")?.stop()?.success());
    for kind in [Kind::Tcp, Kind::Udp] {
        scene.client().ask(kind, WEB_VIP.at(Family::V6, PORT))?;
        outside.ask(kind, knock)?;
    }
    agent::verb(
        &scene.node,
        &[
            "cleanup",
            "--state-dir",
            &scene.node.files().join("state").display().to_string(),
        ],
    )?;
    ensure!(
        !scene.node.bpf_dir().exists() || fs::read_dir(scene.node.bpf_dir())?.next().is_none(),
        "pins are left"
    );
    let cgroup = scene.node.root_cgroup().path().display().to_string();
    let attached = || -> Result<String> {
        let in_cgroup = scene.node.run(&["bpftool", "cgroup", "show", &cgroup])?;
        let on_devices = scene.node.run(&["bpftool", "net", "show"])?;
        Ok([in_cgroup, on_devices].concat())
    };
    // Links go with their last reference, which the kernel drops a moment later.
    poll::until(CHANGE, "no program is attached", || {
        let text = attached()?;
        ensure!(!text.contains("lb_"), "{text}");
        Ok(Some(()))
    })?;
    let links = scene.node.run(&["ip", "link"])?;
    ensure!(!links.contains("xdp") && !links.contains("lb0"), "{links}");
    let refused = outside
        .connect(Kind::Tcp, knock)
        .expect_err("nobody translates it");
    assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));
    // And again: there is nothing to do, which is no failure.
    agent::verb(
        &scene.node,
        &[
            "cleanup",
            "--state-dir",
            &scene.node.files().join("state").display().to_string(),
        ],
    )?;
    // A fresh start on the clean ground.
    scene.agent = Some(Start::new().on(&scene.node)?);
    scene
        .client()
        .ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
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
    let mut scene = Scene::with(Start::new().xdp("eth0").under(&few), |node| {
        vec![scene::web(node)]
    })?;
    let status = fs::read_to_string(format!(
        "/proc/{}/status",
        scene.agent.as_ref().context("it runs")?.pid()
    ))?;
    // CAP_NET_ADMIN 12, CAP_PERFMON 38, CAP_BPF 39: nothing else is in force.
    ensure!(status.contains("CapEff:\t000000c000001000"), "{status}");
    let outside = scene.lan.client(1)?;
    for kind in [Kind::Tcp, Kind::Udp] {
        scene.client().ask(kind, WEB_VIP.at(Family::V4, PORT))?;
        outside.ask(kind, scene.node.addr().at(Family::V4, NODE_PORT))?;
    }
    // Restarting, and following a change, takes no more.
    scene.agent.take().context("it runs")?.kill()?;
    scene.agent = Some(Start::new().xdp("eth0").under(&few).on(&scene.node)?);
    scene.apply(&scene::web(&scene.node).endpoints(scene::web_pods(&scene.node)[..1].to_vec()))?;
    poll::until_true(CHANGE, "the change is there", || {
        Ok(
            shown::frontend(&scene.node, "TCP", &WEB_VIP.v4.to_string(), PORT)?
                .backends
                .len()
                == 1,
        )
    })
}
