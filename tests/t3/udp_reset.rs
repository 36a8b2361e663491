//! Resets of connected UDP sockets: where they are found, what they need, and what is said where it
//! is missing.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr,
    agent::{self, CHANGE, Start},
    agent_output,
    endpoint_change::{Change, EndpointChange},
    host::Host,
    one_node::{self, OneNode, PORT},
    poll,
    probe::{Family, Kind, Sock},
};

/// One look for an answer that may not come.
const LOOK: Duration = Duration::from_millis(100);

const THREE: &str = "--bounding-set=-all,+bpf,+net_admin,+perfmon";
const FOUR: &str = "--bounding-set=-all,+bpf,+net_admin,+perfmon,+sys_admin";

fn under(capabilities: &str) -> Start {
    Start::new().under(&["setpriv", capabilities, "--no-new-privs", "--"])
}

/// With one Service that has one endpoint, which it will lose.
fn one_node(start: Start) -> Result<(OneNode, EndpointChange)> {
    let mut case = None;
    let bed = OneNode::with(start, |node| {
        let pods = one_node::web_pods(node);
        let two = [pods[0].clone(), pods[1].clone()];
        let made = EndpointChange::new(Change::Lost, 0, addr::vip(60), two);
        vec![case.insert(made).before()]
    })?;
    Ok((bed, case.context("the bed is set")?))
}

/// Connected to the VIP, and answered.
fn opened(from: &Host, case: &EndpointChange) -> Result<Sock> {
    let sock = from.connect(Kind::Udp, case.vip.at(Family::V4, PORT))?;
    ensure!(sock.ask("before")?.name == case.first());
    Ok(sock)
}

fn is_reset(sock: &Sock) -> Result<bool> {
    match sock.recv_within(LOOK) {
        Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(false),
        other => anyhow::bail!("{other:?} instead of a reset"),
    }
}

fn check(bed: &OneNode) -> Result<String> {
    let binary = agent::binary()?.display().to_string();
    let dir = bed.node.bpf_dir().display().to_string();
    let cgroup = bed.node.root_cgroup().path().display().to_string();
    let said = bed.node.output(&[
        &binary,
        "check",
        "--bpf-dir",
        &dir,
        "--cgroup",
        &cgroup,
        "--metrics-bind-address",
        agent::METRICS,
    ])?;
    Ok(said.stdout)
}

#[test]
fn four_capabilities_reach_the_sockets_of_pods() -> Result<()> {
    let (bed, case) = one_node(under(FOUR))?;
    let pid = bed.agent.as_ref().context("it runs")?.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    // CAP_NET_ADMIN 12, CAP_SYS_ADMIN 21, CAP_PERFMON 38, CAP_BPF 39.
    ensure!(status.contains("CapEff:\t000000c000201000"), "{status}");
    let sock = opened(bed.client(), &case)?;
    case.happen(&[&bed.node])?;
    poll::until_true(CHANGE, "the socket is reset", || is_reset(&sock))?;
    let said = check(&bed)?;
    ensure!(
        said.contains("ok    connected UDP sockets follow their Service"),
        "{said}"
    );
    Ok(())
}

#[test]
fn without_the_right_those_of_the_host_are_reset_and_the_rest_is_told() -> Result<()> {
    let (bed, case) = one_node(under(THREE))?;
    let in_pod = opened(bed.client(), &case)?;
    let of_host = opened(&bed.node, &case)?;
    case.happen(&[&bed.node])?;
    poll::until_true(CHANGE, "the host's socket is reset", || is_reset(&of_host))?;
    poll::until_true(CHANGE, "the pod's socket is told of", || {
        Ok(agent_output::metric(&bed.node, "lb_agent_udp_sockets_stale")? > 0.5)
    })?;
    ensure!(!is_reset(&in_pod)?, "without CAP_SYS_ADMIN?");
    let metric = |name| agent_output::metric(&bed.node, name);
    assert!(metric("lb_agent_udp_reset_failures_total{reason=\"not_permitted\"}")? > 0.5);
    assert!(metric("lb_agent_udp_reset_enabled")? < 0.5);
    let log = bed.agent.as_ref().context("it runs")?.log()?;
    ensure!(log.contains("socketReset: true"), "{log}");
    let said = check(&bed)?;
    let line = said
        .lines()
        .find(|line| line.starts_with("warn  connected UDP sockets follow their Service"));
    let line = line.with_context(|| format!("check says nothing of it: {said}"))?;
    ensure!(
        line.contains("1 now") && line.contains("CAP_SYS_ADMIN") && line.contains("socketReset"),
        "{line}"
    );
    Ok(())
}

#[test]
fn what_is_missed_is_made_up_for_by_an_agent_that_may() -> Result<()> {
    let (mut bed, case) = one_node(under(THREE))?;
    let sock = opened(bed.client(), &case)?;
    case.happen(&[&bed.node])?;
    poll::until_true(CHANGE, "the socket is told of", || {
        Ok(agent_output::metric(&bed.node, "lb_agent_udp_sockets_stale")? > 0.5)
    })?;
    bed.agent.take().context("it runs")?.stop()?;
    bed.agent = Some(under(FOUR).on(&bed.node)?);
    poll::until_true(CHANGE, "the socket is reset", || is_reset(&sock))
}

#[test]
fn switched_off_nothing_is_reset() -> Result<()> {
    let (bed, case) = one_node(Start::new().args(&["--socket-reset", "off"]))?;
    let sock = opened(bed.client(), &case)?;
    case.happen(&[&bed.node])?;
    // Long after a reset would have come (see the other tests), the socket is as it was.
    for _ in 0..15 {
        ensure!(!is_reset(&sock)?, "it was reset");
    }
    assert_eq!(sock.ask("after")?.name, case.first());
    let said = check(&bed)?;
    ensure!(said.contains("needs --socket-reset auto"), "{said}");
    Ok(())
}

#[test]
fn a_namespace_without_a_name_is_found_by_its_processes() -> Result<()> {
    let (bed, case) = one_node(Start::new())?;
    let sock = opened(bed.client(), &case)?;
    // From here on only the client's process shows where its socket is.
    let path = bed.client().netns().path();
    nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH)?;
    fs::remove_file(&path)?;
    case.happen(&[&bed.node])?;
    poll::until_true(CHANGE, "the socket is reset", || is_reset(&sock))
}

#[test]
fn sockets_that_said_goodbye_are_left_alone() -> Result<()> {
    let (bed, case) = one_node(Start::new())?;
    let to = case.vip.at(Family::V4, PORT);
    let pod = bed.node.pod(0).addr().at(Family::V4, one_node::TARGET);
    let disconnected = opened(bed.client(), &case)?;
    disconnected.disconnect()?;
    let direct = opened(bed.client(), &case)?;
    direct.connect(pod)?;
    let stale = opened(bed.client(), &case)?;
    case.happen(&[&bed.node])?;
    poll::until_true(CHANGE, "the socket is reset", || is_reset(&stale))?;
    // A socket connected to the pod's own address, and a socket that is not connected.
    assert_eq!(direct.ask("after")?.name, case.first());
    assert_eq!(disconnected.ask_at(to, "after")?.name, "web-2");
    ensure!(agent_output::metric(&bed.node, "lb_agent_udp_sockets_reset_total")? < 1.5);
    Ok(())
}

#[test]
fn hundreds_of_sockets_in_many_namespaces_go_at_once() -> Result<()> {
    let (bed, case) = one_node(Start::new())?;
    let mut socks = Vec::new();
    for pod in bed.node.pods() {
        for _ in 0..100 {
            socks.push(opened(pod, &case)?);
        }
    }
    case.happen(&[&bed.node])?;
    poll::until_true(CHANGE, "all are counted", || {
        let reset = agent_output::metric(&bed.node, "lb_agent_udp_sockets_reset_total")?;
        #[expect(clippy::cast_precision_loss, reason = "hundreds")]
        let all = socks.len() as f64;
        Ok((reset - all).abs() < 0.5)
    })?;
    for sock in &socks {
        ensure!(is_reset(sock)?, "counted, and not reset");
    }
    Ok(())
}
