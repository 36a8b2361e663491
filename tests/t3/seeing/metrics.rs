//! Metrics of each Service port.

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr,
    agent::{CHANGE, Start},
    agent_output::{metric, metrics},
    one_node::{self, NODE_PORT, OneNode, PORT, TARGET, WEB_VIP},
    poll,
    probe::{Family, Kind},
};

/// A counter of a Service's port by its whole name.
fn counter(name: &str, service: &str, port: &str) -> String {
    format!(
        "lb_agent_service_{name}_total{{namespace=\"default\",service=\"{service}\",port=\"{port}\",protocol=\"TCP\"}}"
    )
}

/// The name of the TCP port of `service`, as the scrape has it.
fn tcp_port(bed: &OneNode, service: &str) -> Result<String> {
    let text = metrics(&bed.node)?;
    let begin = format!(
        "lb_agent_service_connections_total{{namespace=\"default\",service=\"{service}\",port=\""
    );
    let mut ports = text
        .lines()
        .filter(|line| line.contains("protocol=\"TCP\""));
    let line = ports.find_map(|line| line.strip_prefix(&begin));
    let (port, _) = line
        .context("no series")?
        .split_once('"')
        .context("no port")?;
    Ok(port.to_owned())
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 0.5
}

#[test]
fn each_service_port_counts_and_never_falls() -> Result<()> {
    let mut bed = OneNode::with(Start::new(), |node| {
        let empty = one_node::behind("empty", addr::vip(75), &[]).port(PORT, TARGET);
        vec![one_node::web(node), empty]
    })?;
    let (web, empty) = (tcp_port(&bed, "web")?, tcp_port(&bed, "empty")?);
    for _ in 0..3 {
        bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
        bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V6, PORT))?;
    }
    ensure!(
        bed.client()
            .connect(Kind::Tcp, addr::vip(75).at(Family::V4, PORT))
            .is_err()
    );
    // Both families are one port.
    let connections = metric(&bed.node, &counter("connections", "web", &web))?;
    ensure!(near(connections, 6.0), "{connections}");
    ensure!(near(
        metric(&bed.node, &counter("rejects", "empty", &empty))?,
        1.0
    ));
    ensure!(near(
        metric(&bed.node, &counter("packets", "web", &web))?,
        0.0
    ));
    let outside = bed.lan.client(1)?;
    outside.ask(Kind::Tcp, bed.node.addr().at(Family::V4, NODE_PORT))?;
    ensure!(metric(&bed.node, &counter("packets", "web", &web))? > 3.5);
    ensure!(metric(&bed.node, &counter("bytes", "web", &web))? > 200.0);
    ensure!(near(
        metric(&bed.node, "lb_agent_service_ports_without_metrics")?,
        0.0
    ));

    let active = "lb_agent_service_active_connections";
    let active = format!(
        "{active}{{namespace=\"default\",service=\"web\",port=\"{web}\",protocol=\"TCP\"}}"
    );
    let held = [
        bed.client()
            .connect(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?,
        outside.connect(Kind::Tcp, bed.node.addr().at(Family::V4, NODE_PORT))?,
    ];
    held[1].ask("hello")?;
    poll::until_true(CHANGE, "one socket and one flow are open", || {
        Ok(near(metric(&bed.node, &active)?, 2.0))
    })?;
    // Three pods, two families, two protocols.
    let ready = "lb_agent_backends{zone=\"\",state=\"ready\"}";
    ensure!(
        near(metric(&bed.node, ready)?, 12.0),
        "{}",
        metrics(&bed.node)?
    );
    drop(held);

    // A policy that changes gives the Service other pools; what was counted stays.
    let local = one_node::web(&bed.node).spec("externalTrafficPolicy: Local");
    bed.apply(&local)?;
    bed.apply(&one_node::behind("third", addr::vip(76), &[]).port(PORT, TARGET))?;
    poll::until_true(CHANGE, "the change is there", || {
        Ok(tcp_port(&bed, "third").is_ok())
    })?;
    let after = metric(&bed.node, &counter("connections", "web", &web))?;
    ensure!(near(after, 9.0), "{after}");

    // Its pools go on, and another agent's sums begin.
    bed.agent.take().context("it was started")?.stop()?;
    bed.agent = Some(Start::new().on(&bed.node)?);
    let connections = || metric(&bed.node, &counter("connections", "web", &web));
    ensure!(near(connections()?, 0.0));
    bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    ensure!(near(connections()?, 1.0));
    bed.node.remove_manifest("web.yaml")?;
    poll::until_true(CHANGE, "its series go", || {
        Ok(!metrics(&bed.node)?.contains("service=\"web\""))
    })?;

    bed.agent.take().context("it was started")?.stop()?;
    bed.agent = Some(
        Start::new()
            .args(&["--service-metrics", "3"])
            .on(&bed.node)?,
    );
    let text = metrics(&bed.node)?;
    let series = text
        .lines()
        .filter(|l| l.starts_with("lb_agent_service_connections_total{"));
    assert_eq!(series.count(), 3);
    // TCP and UDP of two Services.
    ensure!(near(
        metric(&bed.node, "lb_agent_service_ports_without_metrics")?,
        1.0
    ));
    bed.agent.take().context("it was started")?.stop()?;
    bed.agent = Some(
        Start::new()
            .args(&["--service-metrics", "off"])
            .on(&bed.node)?,
    );
    ensure!(!metrics(&bed.node)?.contains("lb_agent_service_"));
    Ok(())
}
