//! IPv6 switched off by sysctl, before the agent starts and while it runs: IPv4 is served, and it is
//! told once.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr,
    agent::{CHANGE, Start},
    matrix::kinds,
    one_node::{self, OneNode, PORT, TARGET, WEB, WEB_VIP},
    poll,
    probe::Family,
};

use crate::lb0::common::routed;

const OFF: &str = "net.ipv6.conf.all.disable_ipv6=1";
const ON: &str = "net.ipv6.conf.all.disable_ipv6=0";
const TOLD: &str = "IPv6 is switched off on lb0";

fn serves(bed: &OneNode) -> Result<()> {
    for kind in kinds() {
        for from in [bed.client().host(), &bed.node] {
            let answer = from.ask(kind, WEB_VIP.at(Family::V4, PORT))?;
            ensure!(WEB.contains(&answer.name.as_str()), "{answer:?}");
        }
    }
    // A packet that no hook sees: lb0 still balances.
    let sock = bed.client().socket(testbed::probe::Kind::Udp, Family::V4)?;
    sock.bind_device("eth0")?;
    let answer = sock.ask_at(WEB_VIP.at(Family::V4, PORT), "by lb0")?;
    ensure!(WEB.contains(&answer.name.as_str()), "{answer:?}");
    Ok(())
}

/// Lines of the log that say more than that all is well.
fn warnings(bed: &OneNode) -> Result<Vec<String>> {
    let log = bed.agent.as_ref().context("it runs")?.log()?;
    let lines = log
        .lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
    Ok(lines.map(str::to_owned).collect())
}

/// Many Services, so that one complaint for each would be many.
fn services(node: &testbed::node::Node) -> Vec<testbed::manifest::Service> {
    let others = (60..80).map(|n| {
        one_node::behind(&format!("s{n}"), addr::vip(n), &one_node::web_pods(node))
            .port(PORT, TARGET)
    });
    std::iter::once(one_node::web(node)).chain(others).collect()
}

fn told_once(bed: &OneNode, before: usize) -> Result<()> {
    poll::until_true(CHANGE, "it is told", || {
        Ok(warnings(bed)?.iter().any(|line| line.contains(TOLD)))
    })?;
    // Two retries of what fails.
    thread::sleep(Duration::from_secs(11));
    let lines = warnings(bed)?;
    let told = lines.iter().filter(|line| line.contains(TOLD)).count();
    ensure!(told == 1, "told {told} times: {lines:#?}");
    ensure!(lines.len() <= before + 3, "a storm: {lines:#?}");
    Ok(())
}

#[test]
fn ipv4_is_served_where_ipv6_is_off_before_the_start() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| {
        node.run(&["sysctl", "-w", OFF])
            .expect("a sysctl of the node");
        services(node)
    })?;
    routed(&bed.node)?;
    serves(&bed)?;
    told_once(&bed, 0)
}

#[test]
fn ipv4_is_served_while_ipv6_goes_and_comes() -> Result<()> {
    let bed = OneNode::with(Start::new(), services)?;
    routed(&bed.node)?;
    serves(&bed)?;
    let before = warnings(&bed)?.len();
    bed.node.run(&["sysctl", "-w", OFF])?;
    told_once(&bed, before)?;
    serves(&bed)?;
    bed.node.run(&["sysctl", "-w", ON])?;
    poll::until_true(CHANGE * 2, "IPv6 addresses are routed again", || {
        let routes = bed.node.run(&["ip", "-6", "route", "show", "dev", "lb0"])?;
        Ok(routes.contains(&WEB_VIP.v6.to_string()))
    })?;
    serves(&bed)
}
