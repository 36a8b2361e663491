use std::fs;

use anyhow::{Result, ensure};
use lb_agent::{
    flows::{port_table::PortTable, ports::in_words},
    maps::{dir::BpfDir, pinned::Access},
};
use testbed::{
    addr,
    agent::{self, CHANGE, Start},
    agent_output,
    manifest::Service,
    node::Node,
    one_node::{self, OneNode, PORT, TARGET},
    poll,
};

/// `lb_ports` in words.
fn ports(node: &Node) -> Result<String> {
    let table = PortTable::open(&BpfDir::at(node.bpf_dir()), Access::Read)?;
    Ok(in_words(&table.read()?))
}

fn becomes(node: &Node, expected: &str, why: &str) -> Result<()> {
    let mut last = String::new();
    poll::until_true(CHANGE, why, || {
        last = ports(node)?;
        Ok(last == expected)
    })
    .map_err(|e| e.context(format!("the ports are {last}, not {expected}")))
}

#[test]
fn ports_of_rewritten_sources_follow_the_machine_and_the_node_ports() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("config.conf");
    fs::write(
        &path,
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\niptables: {syncPeriod: 1s}\n",
    )?;
    let config = path.display().to_string();
    let small = "lb_pools=64,lb_slots=256,lb_backends=64";
    let start = Start::new().args(&["--config", &config, "--map-capacity", small]);
    let bed = OneNode::with(start, |node| vec![one_node::web(node)])?;
    let node = &bed.node;
    becomes(
        node,
        "1024-29999, 61000-65535",
        "the usual ports are written",
    )?;
    ensure!(agent_output::metric(node, "lb_agent_snat_ports")? >= 28_000.0);
    let check = agent::verb(node, &["check"]);
    let check = format!("{check:?}");
    ensure!(
        check.contains("33512 ports for rewritten sources (1024-29999, 61000-65535)"),
        "{check}"
    );

    let set = |name: &str, value: &str| {
        let key = format!("net/ipv4/{name}");
        node.netns().sysctls(&[(&key, value)])
    };
    set("ip_local_port_range", "20000 60999")?;
    becomes(
        node,
        "1024-19999, 61000-65535",
        "sockets get more ports by themselves",
    )?;
    set("ip_local_reserved_ports", "8080,9000-9009")?;
    becomes(
        node,
        "1024-8079, 8081-8999, 9010-19999, 61000-65535",
        "ports are reserved",
    )?;

    let odd = Service::new("odd", addr::vip(61))
        .node_port(PORT, TARGET, 15000)
        .endpoints(one_node::web_pods(node));
    bed.apply(&odd)?;
    becomes(
        node,
        "1024-8079, 8081-8999, 9010-14999, 15001-19999, 61000-65535",
        "a node port is outside of the range of the cluster's",
    )?;
    node.remove_manifest(&odd.file())?;
    becomes(
        node,
        "1024-8079, 8081-8999, 9010-19999, 61000-65535",
        "the node port has gone",
    )
}

#[test]
fn flags_say_which_ports_and_where_node_ports_are() -> Result<()> {
    let start = Start::new().args(&[
        "--snat-ports",
        "50000-51999,60000-60009",
        "--node-port-range",
        "51000-51999",
    ]);
    let bed = OneNode::with(start, |node| vec![one_node::web(node)])?;
    becomes(
        &bed.node,
        "50000-50999, 60000-60009",
        "the ports of the flag are written",
    )?;
    let log = bed.agent.as_ref().map(agent::Agent::log).transpose()?;
    ensure!(
        log.is_some_and(|log| log.contains("few ports for rewritten sources")),
        "the log says that they are few"
    );
    Ok(())
}
