//! What this machine uses otherwise: listeners on node ports, node ports in the range of the
//! kernel's own ports, devices that replies leave by and that no program watches. All of it is
//! reported.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    agent::{self, CHANGE, Start},
    agent_output,
    lan::Offloads,
    node::{Node, PodNetwork},
    one_node::{self, NODE_PORT, OneNode},
    poll,
    probe::Kind,
    two_nodes::TwoNodes,
};

/// The line of `lb-agent check` about this.
fn checked(node: &Node, about: &str) -> Result<String> {
    let binary = agent::binary()?.display().to_string();
    let dir = node.bpf_dir().display().to_string();
    let check = node.output(&[binary.as_str(), "check", "--bpf-dir", &dir])?;
    let line = check.stdout.lines().find(|line| line.contains(about));
    line.map(str::to_owned)
        .with_context(|| format!("no line about {about} in\n{}", check.stdout))
}

fn until(bed: &OneNode, metric: &str, expected: f64) -> Result<()> {
    poll::until_true(CHANGE, &format!("{metric} is {expected}"), || {
        let now = agent_output::metric(&bed.node, metric)?;
        Ok((now - expected).abs() < 0.5)
    })
}

fn said(bed: &OneNode, words: &[&str]) -> Result<()> {
    let log = bed.agent.as_ref().context("it runs")?.log()?;
    let line = |l: &&str| l.contains("WARN") && words.iter().all(|word| l.contains(word));
    let lines = log.lines().filter(line).count();
    ensure!(lines == 1, "{lines} lines with {words:?} in\n{log}");
    Ok(())
}

#[test]
fn a_listener_that_a_node_port_hides_is_reported() -> Result<()> {
    const METRIC: &str = "lb_agent_hidden_listeners";
    let bed = OneNode::with(Start::new(), |_| Vec::new())?;
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, NODE_PORT));
    let listener = bed.node.listen(Kind::Tcp, any, "own")?;
    // Another number is nobody's.
    let other = SocketAddr::from((Ipv4Addr::UNSPECIFIED, NODE_PORT + 1));
    bed.node.listen(Kind::Udp, other, "own")?;
    until(&bed, METRIC, 0.0)?;
    let about = "no listener behind a node port";
    ensure!(checked(&bed.node, about)?.starts_with("ok"));

    bed.apply(&one_node::web(&bed.node))?;
    until(&bed, METRIC, 1.0)?;
    said(&bed, &["default/web", "TCP 0.0.0.0:30080"])?;
    let line = checked(&bed.node, about)?;
    ensure!(
        line.starts_with("warn") && line.contains("1 sockets"),
        "{line}"
    );

    bed.node.remove_manifest("web.yaml")?;
    until(&bed, METRIC, 0.0)?;
    bed.node.unlisten(listener)?;
    bed.apply(&one_node::web(&bed.node))?;
    let to = bed.node.addr().at(testbed::probe::Family::V4, NODE_PORT);
    poll::until_true(CHANGE, "the node port answers", || {
        Ok(bed.node.ask(Kind::Tcp, to).is_ok())
    })?;
    ensure!(checked(&bed.node, about)?.starts_with("ok"));
    Ok(())
}

#[test]
fn node_ports_in_the_range_of_local_ports_are_reported() -> Result<()> {
    const METRIC: &str = "lb_agent_node_ports_in_local_range";
    let mut bed = OneNode::new()?;
    until(&bed, METRIC, 0.0)?;
    bed.agent.take().context("it runs")?.stop()?;
    let range = |text| {
        bed.node
            .netns()
            .sysctls(&[("net/ipv4/ip_local_port_range", text)])
    };
    range("30000 30100")?;
    bed.agent = Some(Start::new().on(&bed.node)?);
    // TCP and UDP have one number.
    until(&bed, METRIC, 1.0)?;
    said(&bed, &["30000-30100", "(30080)", "ip_local_reserved_ports"])?;
    let line = checked(&bed.node, "node ports outside of")?;
    ensure!(line.starts_with("warn"), "{line}");

    bed.agent.take().context("it runs")?.stop()?;
    let reserved = [("net/ipv4/ip_local_reserved_ports", "30050-30090")];
    bed.node.netns().sysctls(&reserved)?;
    bed.agent = Some(Start::new().on(&bed.node)?);
    until(&bed, METRIC, 0.0)
}

#[test]
fn a_device_that_replies_leave_by_and_no_program_watches_is_reported() -> Result<()> {
    let start = Start::new().args(&["--devices", "eth0"]);
    let bed = OneNode::with(start, |node| vec![one_node::web(node)])?;
    let about = "every device that replies leave by is watched";
    ensure!(checked(&bed.node, about)?.starts_with("ok"));
    bed.node
        .netns()
        .ip("link add up1 type veth peer name up1p\n\
         addr add 198.18.6.1/24 dev up1\n\
         link set up1p up\n\
         link set up1 up\n")?;
    for route in [
        "default via 198.18.6.2 dev up1 metric 900",
        "203.0.113.0/24 dev up1 table 100",
    ] {
        bed.node.netns().ip(&format!("route add {route}\n"))?;
        let name = "lb_agent_unwatched_devices{device=\"up1\"}";
        until(&bed, name, 1.0).with_context(|| route.to_owned())?;
        let line = checked(&bed.node, about)?;
        ensure!(line.starts_with("warn") && line.contains("up1"), "{line}");
        bed.node.netns().ip(&format!("route del {route}\n"))?;
        poll::until_true(CHANGE, "no device is reported", || {
            Ok(!agent_output::metrics(&bed.node)?.contains("lb_agent_unwatched_devices{"))
        })?;
    }
    let log = bed.agent.as_ref().context("it runs")?.log()?;
    ensure!(log.contains("no program watches it"), "{log}");
    Ok(())
}

#[test]
fn no_device_is_unwatched_by_default() -> Result<()> {
    for network in PodNetwork::ALL {
        let bed = TwoNodes::new(network, Offloads::On, Start::new())?;
        let text = agent_output::metrics(&bed.near)?;
        ensure!(
            !text.contains("lb_agent_unwatched_devices{"),
            "{network}: {text}"
        );
    }
    Ok(())
}
