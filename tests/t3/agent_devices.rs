//! The agent and the devices that its flags name: what cannot be had is said, and had as soon as it
//! can be.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};
use lb_sys::Xdp;
use testbed::{
    agent::{CHANGE, Start},
    agent_output,
    one_node::{self, OneNode},
    poll,
};

/// Link ids by the name of the pin, of those that stand on devices.
fn links(bed: &OneNode) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(bed.node.bpf_dir().join("links"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("lb_tc_") {
            continue;
        }
        let pin = entry.path().display().to_string();
        let text = bed
            .node
            .run(&["bpftool", "-j", "link", "show", "pinned", &pin])?;
        let shown: serde_json::Value = serde_json::from_str(&text)?;
        let id = shown["id"].as_u64().context("a link has an id")?;
        found.insert(name, id);
    }
    Ok(found)
}

#[test]
fn native_xdp_is_demanded_in_vain_and_the_agent_refuses() -> Result<()> {
    let mut bed = OneNode::with(Start::new(), |node| vec![one_node::web(node)])?;
    bed.agent.take().context("it runs")?.stop()?;
    // A bridge has no native XDP.
    bed.node
        .run(&["ip", "link", "add", "br9", "type", "bridge"])?;
    let mut agent = Start::new().xdp("br9").without_waiting(&bed.node)?;
    ensure!(!agent.wait_end()?.success(), "it started");
    let said = agent.log()?;
    ensure!(
        said.contains("device br9") && said.contains("--xdp-mode auto"),
        "it names neither the device nor the remedy: {said}"
    );
    // And with the remedy.
    let remedy = Start::new().args(&["--attach-xdp", "br9"]);
    bed.agent = Some(remedy.on(&bed.node)?);
    Ok(())
}

#[test]
fn a_device_that_runs_the_xdp_program_of_another_process_is_said_to_be_taken() -> Result<()> {
    let mut bed = OneNode::with(Start::new(), |node| vec![one_node::web(node)])?;
    bed.agent.take().context("it runs")?.stop()?;
    bed.node
        .run(&["ip", "link", "add", "one0", "type", "veth", "peer", "two0"])?;
    let other = lb_sys::xdp_pass()?;
    let _link = bed.node.block(|| {
        let ifindex = nix::net::if_::if_nametoindex("one0")?;
        Ok(lb_sys::create_xdp(&other, ifindex, Xdp::Native)?)
    })?;
    let mut agent = Start::new().xdp("one0").without_waiting(&bed.node)?;
    ensure!(!agent.wait_end()?.success(), "it started");
    let said = agent.log()?;
    let problem = "device one0 has an XDP program of another process";
    for words in [problem, "bpftool net show dev one0", "--xdp-mode auto"] {
        ensure!(said.contains(words), "{words} is not in {said}");
    }
    ensure!(!said.contains("no native XDP"), "{said}");
    let start = Start::new().args(&["--attach-xdp", "one0"]);
    bed.agent = Some(start.on(&bed.node)?);
    let said = bed.agent.as_ref().context("it runs")?.log()?;
    let mut warnings = said.lines().filter(|line| line.contains("WARN"));
    ensure!(
        warnings.any(|l| l.contains(problem) && l.contains("tc takes its place")),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_named_device_that_is_not_there_is_told_once_and_taken_when_it_comes() -> Result<()> {
    let start = Start::new().args(&["--devices", "eth0,late0"]);
    let bed = OneNode::with(start, |node| vec![one_node::web(node)])?;
    ensure!(agent_output::metric(&bed.node, "lb_agent_missing_devices")? > 0.5);
    bed.node
        .run(&["ip", "link", "add", "late0", "type", "bridge"])?;
    poll::until_true(CHANGE, "the device is taken", || {
        let none = agent_output::metric(&bed.node, "lb_agent_missing_devices")? < 0.5;
        Ok(none && links(&bed)?.keys().any(|name| name.ends_with("-late0")))
    })?;
    let said = bed.agent.as_ref().context("it runs")?.log()?;
    let told = said
        .lines()
        .filter(|l| l.contains("WARN") && l.contains("late0"));
    assert_eq!(told.count(), 1, "{said}");
    Ok(())
}

#[test]
fn devices_that_swap_their_names_keep_their_links() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| vec![one_node::web(node)])?;
    let ip = |words: &str| {
        let line: Vec<&str> = ["ip"].into_iter().chain(words.split(' ')).collect();
        bed.node.run(&line)
    };
    ip("link add one0 type veth peer name two0")?;
    ip("addr add 198.18.77.1/24 dev one0")?;
    ip("addr add 198.18.78.1/24 dev two0")?;
    ip("link set one0 up")?;
    ip("link set two0 up")?;
    let of = |links: &BTreeMap<String, u64>, device: &str| -> Vec<u64> {
        let ours = links.iter().filter(|(name, _)| name.ends_with(device));
        ours.map(|(_, id)| *id).collect()
    };
    let mut before = (Vec::new(), Vec::new());
    poll::until_true(CHANGE, "both are node devices", || {
        let links = links(&bed)?;
        before = (of(&links, "-one0"), of(&links, "-two0"));
        Ok(before.0.len() == 2 && before.1.len() == 2)
    })?;
    let file = bed.node.files().join("swap");
    let lines = "link set one0 name tmp0\nlink set two0 name one0\nlink set tmp0 name two0\n";
    fs::write(&file, lines)?;
    bed.node
        .run(&["ip", "-batch", &file.display().to_string()])?;
    poll::until(CHANGE, "the links follow", || {
        let links = links(&bed)?;
        let now = (of(&links, "-two0"), of(&links, "-one0"));
        Ok((now == before).then_some(()))
    })
}

/// A bridge without an uplink, and an endpoint behind it that names another node.
fn bridge(bed: &OneNode) -> Result<testbed::manifest::Service> {
    for words in [
        "link add br9 type bridge",
        "addr add 198.18.90.1/24 dev br9",
        "addr add fd66:1890::1/64 dev br9 nodad",
        "link set br9 up",
    ] {
        let line: Vec<&str> = ["ip"].into_iter().chain(words.split(' ')).collect();
        bed.node.run(&line)?;
    }
    let mut endpoint = one_node::web_pods(&bed.node)
        .into_iter()
        .next()
        .context("a pod")?;
    endpoint.addr = testbed::addr::Both {
        v4: [198, 18, 90, 7].into(),
        v6: [0xfd66, 0x1890, 0, 0, 0, 0, 0, 7].into(),
    };
    endpoint.node = "another-node".into();
    let service = one_node::behind("elsewhere", testbed::addr::vip(90), &[endpoint]);
    Ok(service.port(one_node::PORT, one_node::TARGET))
}

fn is_watched(bed: &OneNode, device: &str) -> Result<bool> {
    let links = links(bed)?;
    Ok(links.keys().filter(|name| name.ends_with(device)).count() == 2)
}

#[test]
fn a_device_that_endpoints_of_other_nodes_are_routed_over_is_a_node_device() -> Result<()> {
    let config = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\niptables: {syncPeriod: 1s}\n";
    let files = tempfile::tempdir()?;
    let file = files.path().join("config.yaml");
    fs::write(&file, config)?;
    let start = Start::new().args(&["--config", &file.display().to_string()]);
    let bed = OneNode::with(start, |node| vec![one_node::web(node)])?;
    let service = bridge(&bed)?;
    ensure!(!is_watched(&bed, "-br9")?, "nothing of others is behind it");
    bed.apply(&service)?;
    poll::until_true(CHANGE, "br9 is a node device", || is_watched(&bed, "-br9"))?;
    // And no longer than there is one.
    bed.apply(&service.endpoints([]))?;
    poll::until_true(CHANGE, "br9 is left alone", || {
        Ok(!is_watched(&bed, "-br9")?)
    })
}

#[test]
fn a_device_that_a_list_leaves_out_is_told_when_endpoints_of_others_are_behind_it() -> Result<()> {
    let start = Start::new().args(&["--devices", "eth0"]);
    let bed = OneNode::with(start, |node| vec![one_node::web(node)])?;
    let service = bridge(&bed)?;
    ensure!(agent_output::metric(&bed.node, "lb_agent_left_out_devices")? < 0.5);
    bed.apply(&service)?;
    poll::until_true(CHANGE, "the device is told", || {
        Ok(agent_output::metric(&bed.node, "lb_agent_left_out_devices")? > 0.5)
    })?;
    ensure!(!is_watched(&bed, "-br9")?, "the list decides");
    let said = bed.agent.as_ref().context("it runs")?.log()?;
    let told = said
        .lines()
        .filter(|l| l.contains("WARN") && l.contains("br9"));
    assert_eq!(told.count(), 1, "{said}");
    let checked = testbed::agent::verb(&bed.node, &["check"]);
    let text = format!("{checked:?}");
    ensure!(
        text.contains("devices watched that endpoints of other nodes are behind"),
        "{text}"
    );
    Ok(())
}
