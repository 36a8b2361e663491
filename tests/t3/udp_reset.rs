//! Resets of connected UDP sockets: where they are found, what they need, and what is said where it is missing.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::addr;
use testbed::agent::{self, CHANGE, Start};
use testbed::change::{Case, Change};
use testbed::poll;
use testbed::probe::{Family, Kind, Probe, Sock};
use testbed::scene::{self, PORT, Scene};
use testbed::shown;

/// One look for an answer that may not come.
const LOOK: Duration = Duration::from_millis(100);

const THREE: &str = "--bounding-set=-all,+bpf,+net_admin,+perfmon";
const FOUR: &str = "--bounding-set=-all,+bpf,+net_admin,+perfmon,+sys_admin";

fn under(capabilities: &str) -> Start {
    Start::new().under(&["setpriv", capabilities, "--no-new-privs", "--"])
}

/// With one Service that has one endpoint, which it will lose.
fn stage(start: Start) -> Result<(Scene, Case)> {
    let mut case = None;
    let scene = Scene::with(start, |node| {
        let pods = scene::web_pods(node);
        let two = [pods[0].clone(), pods[1].clone()];
        let made = Case::new(Change::Lost, 0, addr::vip(60), two);
        vec![case.insert(made).before()]
    })?;
    Ok((scene, case.context("the stage is set")?))
}

/// Connected to the VIP, and answered.
fn opened(from: &Probe, case: &Case) -> Result<Sock> {
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

fn check(scene: &Scene) -> Result<String> {
    let binary = agent::binary()?.display().to_string();
    let dir = scene.node.bpf_dir().display().to_string();
    let cgroup = scene.node.root_cgroup().path().display().to_string();
    let said = scene.node.output(&[
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
    let (scene, case) = stage(under(FOUR))?;
    let pid = scene.agent.as_ref().context("it runs")?.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    // CAP_NET_ADMIN 12, CAP_SYS_ADMIN 21, CAP_PERFMON 38, CAP_BPF 39.
    ensure!(status.contains("CapEff:\t000000c000201000"), "{status}");
    let sock = opened(scene.client(), &case)?;
    case.happen(&[&scene.node])?;
    poll::until_true(CHANGE, "the socket is reset", || is_reset(&sock))?;
    let said = check(&scene)?;
    ensure!(
        said.contains("ok    connected UDP sockets follow their Service"),
        "{said}"
    );
    Ok(())
}

#[test]
fn without_the_right_those_of_the_host_are_reset_and_the_rest_is_told() -> Result<()> {
    let (scene, case) = stage(under(THREE))?;
    let in_pod = opened(scene.client(), &case)?;
    let of_host = opened(&scene.node, &case)?;
    case.happen(&[&scene.node])?;
    poll::until_true(CHANGE, "the host's socket is reset", || is_reset(&of_host))?;
    poll::until_true(CHANGE, "the pod's socket is told of", || {
        Ok(shown::metric(&scene.node, "lb_udp_sockets_stale")? > 0.5)
    })?;
    ensure!(!is_reset(&in_pod)?, "without CAP_SYS_ADMIN?");
    let metric = |name| shown::metric(&scene.node, name);
    assert!(metric("lb_udp_reset_failures_total{reason=\"not_permitted\"}")? > 0.5);
    assert!(metric("lb_udp_reset_enabled")? < 0.5);
    let log = scene.agent.as_ref().context("it runs")?.log()?;
    ensure!(log.contains("socketReset: true"), "{log}");
    let said = check(&scene)?;
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
    let (mut scene, case) = stage(under(THREE))?;
    let sock = opened(scene.client(), &case)?;
    case.happen(&[&scene.node])?;
    poll::until_true(CHANGE, "the socket is told of", || {
        Ok(shown::metric(&scene.node, "lb_udp_sockets_stale")? > 0.5)
    })?;
    scene.agent.take().context("it runs")?.stop()?;
    scene.agent = Some(under(FOUR).on(&scene.node)?);
    poll::until_true(CHANGE, "the socket is reset", || is_reset(&sock))
}

#[test]
fn switched_off_nothing_is_reset() -> Result<()> {
    let (scene, case) = stage(Start::new().args(&["--socket-reset", "off"]))?;
    let sock = opened(scene.client(), &case)?;
    case.happen(&[&scene.node])?;
    // Long after a reset would have come (see the other tests), the socket is as it was.
    for _ in 0..15 {
        ensure!(!is_reset(&sock)?, "it was reset");
    }
    assert_eq!(sock.ask("after")?.name, case.first());
    let said = check(&scene)?;
    ensure!(said.contains("needs --socket-reset auto"), "{said}");
    Ok(())
}

#[test]
fn a_namespace_without_a_name_is_found_by_its_processes() -> Result<()> {
    let (scene, case) = stage(Start::new())?;
    let sock = opened(scene.client(), &case)?;
    // From here on only the client's process shows where its socket is.
    let path = scene.client().netns().path();
    nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH)?;
    fs::remove_file(&path)?;
    case.happen(&[&scene.node])?;
    poll::until_true(CHANGE, "the socket is reset", || is_reset(&sock))
}

#[test]
fn sockets_that_said_goodbye_are_left_alone() -> Result<()> {
    let (scene, case) = stage(Start::new())?;
    let to = case.vip.at(Family::V4, PORT);
    let pod = scene.node.pod(0).addr().at(Family::V4, scene::TARGET);
    let disconnected = opened(scene.client(), &case)?;
    disconnected.disconnect()?;
    let direct = opened(scene.client(), &case)?;
    direct.connect(pod)?;
    let stale = opened(scene.client(), &case)?;
    case.happen(&[&scene.node])?;
    poll::until_true(CHANGE, "the socket is reset", || is_reset(&stale))?;
    // The very pod, asked for by its own address, and a socket that is connected to nobody.
    assert_eq!(direct.ask("after")?.name, case.first());
    assert_eq!(disconnected.ask_at(to, "after")?.name, "web-2");
    ensure!(shown::metric(&scene.node, "lb_udp_sockets_reset_total")? < 1.5);
    Ok(())
}

#[test]
fn hundreds_of_sockets_in_many_namespaces_go_at_once() -> Result<()> {
    let (scene, case) = stage(Start::new())?;
    let mut socks = Vec::new();
    for pod in scene.node.pods() {
        for _ in 0..100 {
            socks.push(opened(pod, &case)?);
        }
    }
    case.happen(&[&scene.node])?;
    poll::until_true(CHANGE, "all are counted", || {
        let reset = shown::metric(&scene.node, "lb_udp_sockets_reset_total")?;
        #[expect(clippy::cast_precision_loss, reason = "hundreds")]
        let all = socks.len() as f64;
        Ok((reset - all).abs() < 0.5)
    })?;
    for sock in &socks {
        ensure!(is_reset(sock)?, "counted, and not reset");
    }
    Ok(())
}
