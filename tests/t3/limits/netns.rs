//! `lb_netns`: more namespaces to be left alone than the map holds.

use anyhow::{Context as _, Result, ensure};
use testbed::{
    agent::{CHANGE, Start},
    one_node::{self, OneNode, PORT, WEB, WEB_VIP},
    poll,
    probe::Family,
};

use crate::namespaces::{original, redirect};

#[test]
fn lb_netns_fills() -> Result<()> {
    let start = Start::new().args(&["--map-capacity", "lb_netns=1"]);
    let mut bed = OneNode::with(start, |node| vec![one_node::web(node)])?;
    bed.node.add_pod("second")?;
    let first = bed.client().host();
    let second = bed.node.pod(WEB.len() + 1).host();
    let to = WEB_VIP.at(Family::V4, PORT);
    redirect(first)?;
    poll::until_true(CHANGE, "the first side-car sees the VIP", || {
        Ok(original(first).is_ok_and(|seen| seen == to))
    })?;
    redirect(second)?;
    let agent = bed.agent.as_ref().context("it runs")?;
    poll::until_true(CHANGE, "the full map is named", || {
        let log = agent.log()?;
        Ok(log.contains("map lb_netns is full (1 entries)")
            && log.contains("--map-capacity lb_netns=N"))
    })?;
    let seen = original(first)?;
    ensure!(seen == to, "the first one sees {seen}");
    // Where there is room, it is used.
    first.run(&["nft", "delete", "table", "ip", "mesh"])?;
    poll::until_true(CHANGE, "the second side-car sees the VIP", || {
        Ok(original(second).is_ok_and(|seen| seen == to))
    })
}
