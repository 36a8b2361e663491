//! Sockets of pods and of the host whose backend goes: unconnected ones move at their next send, connected ones are reset
//! and connect anew, TCP stays.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use testbed::addr;
use testbed::agent::{CHANGE, Start};
use testbed::change::{Case, Change, Fate, serve_elsewhere};
use testbed::poll;
use testbed::probe::{Family, Kind, Probe, Sock};
use testbed::scene::{self, PORT, Scene};
use testbed::shown;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// One look for an answer that may not come.
const LOOK: Duration = Duration::from_millis(100);
/// Cases have the VIPs from here on.
const VIPS: u8 = 60;

fn stage() -> Result<(Scene, Vec<Case>)> {
    let mut cases = Vec::new();
    let scene = Scene::with(Start::new(), |node| {
        let pods = scene::web_pods(node);
        for (n, change) in (0..).zip(Change::ALL) {
            let two = [pods[0].clone(), pods[1].clone()];
            cases.push(Case::new(change, n, addr::vip(VIPS + n), two));
        }
        cases.iter().map(Case::before).collect()
    })?;
    for pod in &scene.node.pods()[..2] {
        serve_elsewhere(pod)?;
    }
    Ok((scene, cases))
}

/// The VIP as sockets of either family name it, a mapped address included.
fn names(case: &Case) -> [(Family, SocketAddr); 3] {
    [
        (Family::V4, case.vip.at(Family::V4, PORT)),
        (Family::V6, case.vip.at(Family::V6, PORT)),
        (Family::V6, case.vip.mapped(PORT)),
    ]
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// Waits for the error that tells the owner of a reset socket.
fn until_aborted(sock: &Sock) -> Result<()> {
    poll::until(CHANGE, "the socket is reset", || {
        match sock.recv_within(LOOK) {
            Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => Ok(Some(())),
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(None),
            other => bail!("{other:?} instead of a reset"),
        }
    })
}

/// Connected, and answered once.
fn opened(from: &Probe, kind: Kind, family: Family, to: SocketAddr, first: &str) -> Result<Sock> {
    let sock = from.socket(kind, family)?;
    sock.connect(to)?;
    let answer = sock.ask("before")?;
    ensure!(answer.name == first, "{answer:?} instead of {first}");
    Ok(sock)
}

fn reset_so_far(scene: &Scene) -> Result<f64> {
    shown::metric(&scene.node, "lb_udp_sockets_reset_total")
}

#[test]
fn unconnected_sockets_move_at_their_next_send() -> Result<()> {
    let (scene, cases) = stage()?;
    for case in &cases {
        let mut socks = Vec::new();
        for (family, to) in names(case) {
            let sock = scene.client().socket(Kind::Udp, family)?;
            ensure!(sock.ask_at(to, "before")?.name == case.first());
            socks.push((sock, to));
        }
        case.happen(&[&scene.node])?;
        for (sock, to) in &socks {
            let what = || format!("{:?} {to}", case.change);
            match case.fate() {
                Fate::Keeps => ensure!(sock.ask_at(*to, "after")?.name == case.first()),
                Fate::Goes(name) => {
                    let answer = sock.ask_at(*to, "after").with_context(what)?;
                    ensure!(answer.name == name, "{}: {answer:?}", what());
                    ensure!(answer.from == Some(*to), "{}: {answer:?}", what());
                }
                Fate::Refused => {
                    let refused = errno(sock.send_to(*to, "after"));
                    assert_eq!(refused, Some(libc::ECONNREFUSED), "{}", what());
                }
                Fate::Nothing => {
                    // Wherever it goes, it does not go to the pod.
                    let answer = sock
                        .send_to(*to, "after")
                        .and_then(|()| sock.recv_within(LOOK));
                    ensure!(answer.is_err(), "{}: {answer:?}", what());
                }
            }
        }
    }
    Ok(())
}

#[test]
fn connected_sockets_are_reset_and_connect_anew() -> Result<()> {
    let (scene, cases) = stage()?;
    let (mut reset, mut kept) = (0.0, Vec::new());
    for case in &cases {
        let mut socks = Vec::new();
        for (family, to) in names(case) {
            let sock = opened(scene.client(), Kind::Udp, family, to, case.first())?;
            socks.push((sock, to));
        }
        case.happen(&[&scene.node])?;
        if case.fate() == Fate::Keeps {
            let name = case.first().to_owned();
            kept.extend(socks.into_iter().map(|(sock, _)| (sock, name.clone())));
            continue;
        }
        for (sock, to) in &socks {
            let what = || format!("{:?} {to}", case.change);
            until_aborted(sock).with_context(what)?;
            reset += 1.0;
            assert_eq!(errno(sock.peer()), Some(libc::ENOTCONN), "{}", what());
            match case.fate() {
                Fate::Goes(name) => {
                    sock.connect(*to)?;
                    assert_eq!(sock.peer()?, *to);
                    assert_eq!(sock.ask("after").with_context(what)?.name, name);
                }
                Fate::Refused => assert_eq!(errno(sock.connect(*to)), Some(libc::ECONNREFUSED)),
                Fate::Keeps | Fate::Nothing => {}
            }
        }
    }
    poll::until_true(CHANGE, "each reset is counted once", || {
        Ok((reset_so_far(&scene)? - reset).abs() < 0.5)
    })?;
    assert!(shown::metric(&scene.node, "lb_udp_sockets_stale")? < 0.5);
    // Looked at with those of the last change, and left alone.
    for (sock, name) in &kept {
        assert_eq!(sock.ask("after")?.name, *name);
    }
    Ok(())
}

#[test]
fn connections_of_tcp_stay_whatever_happens() -> Result<()> {
    let (scene, cases) = stage()?;
    let mut held = Vec::new();
    for case in &cases {
        for (family, to) in names(case) {
            let tcp = opened(scene.client(), Kind::Tcp, family, to, case.first())?;
            let udp = opened(scene.client(), Kind::Udp, family, to, case.first())?;
            held.push((case, tcp, udp));
        }
    }
    for case in &cases {
        case.happen(&[&scene.node])?;
    }
    for (case, tcp, udp) in &held {
        // By then sockets have been reset.
        if case.fate() != Fate::Keeps {
            until_aborted(udp)?;
        }
        let answer = tcp
            .ask("after")
            .with_context(|| format!("{:?}", case.change))?;
        ensure!(answer.name == case.first(), "{:?}: {answer:?}", case.change);
    }
    Ok(())
}

#[test]
fn a_backend_that_another_service_still_has_is_lost_to_this_one_alone() -> Result<()> {
    let (a, b) = (addr::vip(70), addr::vip(71));
    let mut pods = Vec::new();
    let scene = Scene::with(Start::new(), |node| {
        pods = scene::web_pods(node);
        let only = &pods[..1];
        [("a", a), ("b", b)]
            .map(|(name, vip)| scene::behind(name, vip, only).port(PORT, scene::TARGET))
            .into()
    })?;
    let mut held = Vec::new();
    for family in FAMILIES {
        let [by_a, by_b] = [a, b].map(|vip| {
            let to = vip.at(family, PORT);
            opened(scene.client(), Kind::Udp, family, to, &pods[0].pod)
        });
        held.push((by_a?, by_b?));
    }
    scene.apply(&scene::behind("a", a, &pods[1..2]).port(PORT, scene::TARGET))?;
    for (by_a, by_b) in &held {
        until_aborted(by_a)?;
        assert_eq!(by_b.ask("after")?.name, pods[0].pod);
    }
    Ok(())
}

#[test]
fn what_went_while_no_agent_ran_is_made_up_for_at_the_start() -> Result<()> {
    let (mut scene, cases) = stage()?;
    let (lost, kept) = (&cases[0], &cases[4]);
    let mut socks = Vec::new();
    for family in FAMILIES {
        let [a, b] = [lost, kept].map(|case| {
            let to = case.vip.at(family, PORT);
            opened(scene.client(), Kind::Udp, family, to, case.first())
        });
        socks.push((a?, b?));
    }
    scene.agent.take().context("it runs")?.kill()?;
    let empty = lost.before().endpoints([]);
    scene.apply(&empty)?;
    scene.agent = Some(Start::new().on(&scene.node)?);
    for (by_lost, by_kept) in &socks {
        until_aborted(by_lost)?;
        assert_eq!(by_kept.ask("after")?.name, kept.first());
    }
    Ok(())
}

#[test]
fn whoever_sends_first_is_told_too() -> Result<()> {
    let (scene, cases) = stage()?;
    let case = &cases[0];
    let to = case.vip.at(Family::V4, PORT);
    let sock = opened(scene.client(), Kind::Udp, Family::V4, to, case.first())?;
    case.happen(&[&scene.node])?;
    poll::until(CHANGE, "the socket is reset", || {
        // Nobody hears what was sent before: there is no Service, but the pod is still there.
        Ok(errno(sock.send("after")))
    })
    .map(|error| assert_eq!(error, libc::EDESTADDRREQ))?;
    assert_eq!(errno(sock.recv_within(LOOK)), Some(libc::ECONNABORTED));
    Ok(())
}
