//! System calls, with the names of what they meet.

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr::LOOPBACK,
    agent::Start,
    matrix::families,
    one_node::{NODE_PORT, PORT, WEB_VIP},
    probe::{Kind, errno},
};

use super::{EMPTY_VIP, Trace, has, is_for, stage};

#[test]
fn a_connect_is_shown_with_the_names_of_what_it_meets() -> Result<()> {
    let bed = stage(Start::new())?;
    let trace = Trace::start(&bed.node, "all", &[])?;
    for family in families() {
        let to = WEB_VIP.at(family, PORT);
        let answer = bed.client().ask(Kind::Tcp, to)?;
        let all = trace.until("the connect is shown", |d| is_for(d, to))?;
        let d = all.iter().find(|d| is_for(d, to)).context("it")?;
        ensure!(d["hook"] == "connect" && has(d, "sock_translated"), "{d:#}");
        ensure!(d["refused"] == false && d["verdict"] == "pass", "{d:#}");
        ensure!(d["protocol"] == "TCP", "{d:#}");
        ensure!(d["service"]["name"] == "web", "{d:#}");
        let pod = format!("default/{}", answer.name);
        ensure!(d["pod"] == pod, "{d:#} is not {pod}");
        let client = bed.client().addr().at(family, 0).ip().to_string();
        ensure!(d["client"] == client, "{d:#} is not of {client}");
        ensure!(d["process"]["pid"].as_u64() > Some(0), "{d:#}");

        let to = EMPTY_VIP.at(family, PORT);
        ensure!(errno(bed.client().connect(Kind::Tcp, to)).is_some());
        let all = trace.until("the refusal is shown", |d| is_for(d, to))?;
        let d = all.iter().find(|d| is_for(d, to)).context("it")?;
        ensure!(has(d, "sock_no_endpoint") && d["refused"] == true, "{d:#}");
        ensure!(d["verdict"] == "refuse" && d["backend"].is_null(), "{d:#}");
    }
    Ok(())
}

/// Over `lb0`, whose programs choose its backend: the call is shown all the same.
#[test]
fn a_connect_of_a_socket_that_is_bound_to_loopback_is_shown() -> Result<()> {
    let bed = stage(Start::new())?;
    crate::lb0::common::routed(&bed.node)?;
    let trace = Trace::start(&bed.node, "loopback", &["--hook", "connect"])?;
    for family in families() {
        let to = LOOPBACK.at(family, NODE_PORT);
        let sock = bed.node.socket(Kind::Tcp, family)?;
        sock.bind(LOOPBACK.at(family, 0))?;
        sock.connect(to)?;
        let all = trace.until("the connect is shown", |d| is_for(d, to))?;
        let d = all.iter().find(|d| is_for(d, to)).context("it")?;
        ensure!(has(d, "sock_translated") && d["refused"] == false, "{d:#}");
        ensure!(d["service"]["name"] == "web", "{d:#}");
        sock.ask("x")?;
    }
    Ok(())
}
