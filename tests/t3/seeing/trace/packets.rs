//! Packets at each hook, in both directions.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::{
    agent::Start,
    matrix::families,
    one_node::{NODE_PORT, PORT, WEB_VIP},
    probe::{Kind, errno},
};

use super::{EMPTY_NODE_PORT, EMPTY_VIP, Trace, has, is_for, stage};

#[test]
fn packets_are_shown_at_tc_and_xdp_in_both_directions() -> Result<()> {
    let bed = stage(Start::new().xdp("eth0"))?;
    let outside = bed.lan.client(1)?;
    let trace = Trace::start(&bed.node, "packets", &["--hook", "tc,xdp", "--limit", "0"])?;
    for family in families() {
        let to = bed.node.addr().at(family, NODE_PORT);
        let answer = outside.ask(Kind::Tcp, to)?;
        let pod = format!("default/{}", answer.name);
        for (hook, reply) in [("xdp", false), ("tc_egress", true)] {
            let mine = |d: &Value| is_for(d, to) && d["hook"] == hook && d["reply"] == reply;
            let all = trace.until(hook, mine)?;
            let d = all.iter().find(|d| mine(d)).context("it")?;
            ensure!(d["client"] == answer.client.to_string(), "{d:#}");
            ensure!(d["service"]["name"] == "web" && d["pod"] == pod, "{d:#}");
            ensure!(d["process"].is_null() && d["refused"] == false, "{d:#}");
        }
        let to = bed.node.addr().at(family, EMPTY_NODE_PORT);
        ensure!(errno(outside.connect(Kind::Tcp, to)).is_some());
        let mine = |d: &Value| is_for(d, to) && d["hook"] == "tc_ingress";
        let all = trace.until("the refusal", mine)?;
        let d = all.iter().find(|d| mine(d)).context("it")?;
        ensure!(has(d, "pkt_no_endpoint") && d["refused"] == true, "{d:#}");
        ensure!(
            d["backend"].is_null() && d["service"]["name"] == "empty",
            "{d:#}"
        );
    }
    Ok(())
}

#[test]
fn packets_of_lb0_are_shown() -> Result<()> {
    let bed = stage(Start::new().args(&["--socket-lb", "off"]))?;
    let trace = Trace::start(&bed.node, "lb0", &["--hook", "lb0"])?;
    for family in families() {
        let to = WEB_VIP.at(family, PORT);
        bed.client().ask(Kind::Tcp, to)?;
        for hook in ["lb0_out", "lb0_back"] {
            let mine = |d: &Value| is_for(d, to) && d["hook"] == hook;
            let all = trace.until(hook, mine)?;
            let d = all.iter().find(|d| mine(d)).context("it")?;
            ensure!(d["reply"] == (hook == "lb0_back"), "{d:#}");
            ensure!(
                d["clientPod"].is_null() && d["service"]["name"] == "web",
                "{d:#}"
            );
        }
        let to = EMPTY_VIP.at(family, PORT);
        ensure!(errno(bed.client().connect(Kind::Tcp, to)).is_some());
        let all = trace.until("the refusal", |d| is_for(d, to))?;
        let d = all.iter().find(|d| is_for(d, to)).context("it")?;
        ensure!(has(d, "pkt_no_endpoint") && d["backend"].is_null(), "{d:#}");
    }
    Ok(())
}
