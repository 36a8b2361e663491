//! The agent and the devices that its flags name: what cannot be had is said, and had as soon as it
//! can be.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};
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
fn a_named_device_that_is_not_there_is_told_once_and_taken_when_it_comes() -> Result<()> {
    let start = Start::new().args(&["--devices", "eth0,late0"]);
    let bed = OneNode::with(start, |node| vec![one_node::web(node)])?;
    ensure!(agent_output::metric(&bed.node, "lb_missing_devices")? > 0.5);
    bed.node
        .run(&["ip", "link", "add", "late0", "type", "bridge"])?;
    poll::until_true(CHANGE, "the device is taken", || {
        let none = agent_output::metric(&bed.node, "lb_missing_devices")? < 0.5;
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
