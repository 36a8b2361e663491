//! Sockets of pods and of the host whose backend goes: unconnected ones move at their next send,
//! connected ones are reset and connect anew, TCP stays.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use testbed::{
    addr,
    agent::{CHANGE, Start},
    agent_output,
    endpoint_change::{Change, EndpointChange, Expected, serve_elsewhere},
    host::Host,
    matrix::families,
    one_node::{self, OneNode, PORT},
    poll,
    probe::{Family, Kind, Sock, errno},
};

/// One look for an answer that may not come.
const LOOK: Duration = Duration::from_millis(100);
/// Cases have the VIPs from here on.
const VIPS: u8 = 60;

fn one_node() -> Result<(OneNode, Vec<EndpointChange>)> {
    let mut cases = Vec::new();
    let bed = OneNode::with(Start::new(), |node| {
        let pods = one_node::web_pods(node);
        for (n, change) in (0..).zip(Change::ALL) {
            let two = [pods[0].clone(), pods[1].clone()];
            cases.push(EndpointChange::new(change, n, addr::vip(VIPS + n), two));
        }
        cases.iter().map(EndpointChange::before).collect()
    })?;
    for pod in &bed.node.pods()[..2] {
        serve_elsewhere(pod)?;
    }
    Ok((bed, cases))
}

/// The VIP as sockets of either family name it, a mapped address included.
fn names(case: &EndpointChange) -> [(Family, SocketAddr); 3] {
    [
        (Family::V4, case.vip.at(Family::V4, PORT)),
        (Family::V6, case.vip.at(Family::V6, PORT)),
        (Family::V6, case.vip.mapped(PORT)),
    ]
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
fn opened(from: &Host, kind: Kind, family: Family, to: SocketAddr, first: &str) -> Result<Sock> {
    let sock = from.socket(kind, family)?;
    sock.connect(to)?;
    let answer = sock.ask("before")?;
    ensure!(answer.name == first, "{answer:?} instead of {first}");
    Ok(sock)
}

fn reset_so_far(bed: &OneNode) -> Result<f64> {
    agent_output::metric(&bed.node, "lb_agent_udp_sockets_reset_total")
}

#[test]
fn unconnected_sockets_move_at_their_next_send() -> Result<()> {
    let (bed, cases) = one_node()?;
    for case in &cases {
        let mut socks = Vec::new();
        for (family, to) in names(case) {
            let sock = bed.client().socket(Kind::Udp, family)?;
            ensure!(sock.ask_at(to, "before")?.name == case.first());
            socks.push((sock, to));
        }
        case.happen(&[&bed.node])?;
        for (sock, to) in &socks {
            let what = || format!("{:?} {to}", case.change);
            match case.expected() {
                Expected::Keeps => ensure!(sock.ask_at(*to, "after")?.name == case.first()),
                Expected::Goes(name) => {
                    let answer = sock.ask_at(*to, "after").with_context(what)?;
                    ensure!(answer.name == name, "{}: {answer:?}", what());
                    ensure!(answer.from == Some(*to), "{}: {answer:?}", what());
                }
                Expected::Refused => {
                    let refused = errno(sock.send_to(*to, "after"));
                    assert_eq!(refused, Some(libc::ECONNREFUSED), "{}", what());
                }
                Expected::Nothing => {
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
    let (bed, cases) = one_node()?;
    let (mut reset, mut kept) = (0.0, Vec::new());
    for case in &cases {
        let mut socks = Vec::new();
        for (family, to) in names(case) {
            let sock = opened(bed.client(), Kind::Udp, family, to, case.first())?;
            socks.push((sock, to));
        }
        case.happen(&[&bed.node])?;
        if case.expected() == Expected::Keeps {
            let name = case.first().to_owned();
            kept.extend(socks.into_iter().map(|(sock, _)| (sock, name.clone())));
            continue;
        }
        for (sock, to) in &socks {
            let what = || format!("{:?} {to}", case.change);
            until_aborted(sock).with_context(what)?;
            reset += 1.0;
            assert_eq!(errno(sock.peer()), Some(libc::ENOTCONN), "{}", what());
            match case.expected() {
                Expected::Goes(name) => {
                    sock.connect(*to)?;
                    assert_eq!(sock.peer()?, *to);
                    assert_eq!(sock.ask("after").with_context(what)?.name, name);
                }
                // At once, or, at a cluster IP that may get endpoints again, by its datagram.
                Expected::Refused => {
                    let refused = sock.connect(*to).and_then(|()| sock.ask("x"));
                    assert_eq!(errno(refused), Some(libc::ECONNREFUSED), "{}", what());
                }
                Expected::Keeps | Expected::Nothing => {}
            }
        }
    }
    poll::until_true(CHANGE, "each reset is counted once", || {
        Ok((reset_so_far(&bed)? - reset).abs() < 0.5)
    })?;
    assert!(agent_output::metric(&bed.node, "lb_agent_udp_sockets_stale")? < 0.5);
    // Looked at with those of the last change, and left alone.
    for (sock, name) in &kept {
        assert_eq!(sock.ask("after")?.name, *name);
    }
    Ok(())
}

#[test]
fn connections_of_tcp_stay_whatever_happens() -> Result<()> {
    let (bed, cases) = one_node()?;
    let mut held = Vec::new();
    for case in &cases {
        for (family, to) in names(case) {
            let tcp = opened(bed.client(), Kind::Tcp, family, to, case.first())?;
            let udp = opened(bed.client(), Kind::Udp, family, to, case.first())?;
            held.push((case, tcp, udp));
        }
    }
    for case in &cases {
        case.happen(&[&bed.node])?;
    }
    for (case, tcp, udp) in &held {
        // By then sockets have been reset.
        if case.expected() != Expected::Keeps {
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
    let bed = OneNode::with(Start::new(), |node| {
        pods = one_node::web_pods(node);
        let only = &pods[..1];
        [("a", a), ("b", b)]
            .map(|(name, vip)| one_node::behind(name, vip, only).port(PORT, one_node::TARGET))
            .into()
    })?;
    let mut held = Vec::new();
    for family in families() {
        let [by_a, by_b] = [a, b].map(|vip| {
            let to = vip.at(family, PORT);
            opened(bed.client(), Kind::Udp, family, to, &pods[0].pod)
        });
        held.push((by_a?, by_b?));
    }
    bed.apply(&one_node::behind("a", a, &pods[1..2]).port(PORT, one_node::TARGET))?;
    for (by_a, by_b) in &held {
        until_aborted(by_a)?;
        assert_eq!(by_b.ask("after")?.name, pods[0].pod);
    }
    Ok(())
}

#[test]
fn what_went_while_no_agent_ran_is_made_up_for_at_the_start() -> Result<()> {
    let (mut bed, cases) = one_node()?;
    let (lost, kept) = (&cases[0], &cases[4]);
    let mut socks = Vec::new();
    for family in families() {
        let [a, b] = [lost, kept].map(|case| {
            let to = case.vip.at(family, PORT);
            opened(bed.client(), Kind::Udp, family, to, case.first())
        });
        socks.push((a?, b?));
    }
    bed.agent.take().context("it runs")?.kill()?;
    let empty = lost.before().endpoints([]);
    bed.apply(&empty)?;
    bed.agent = Some(Start::new().on(&bed.node)?);
    for (by_lost, by_kept) in &socks {
        until_aborted(by_lost)?;
        assert_eq!(by_kept.ask("after")?.name, kept.first());
    }
    Ok(())
}

#[test]
fn whoever_sends_first_is_told_too() -> Result<()> {
    let (bed, cases) = one_node()?;
    let case = &cases[0];
    let to = case.vip.at(Family::V4, PORT);
    let sock = opened(bed.client(), Kind::Udp, Family::V4, to, case.first())?;
    case.happen(&[&bed.node])?;
    poll::until(CHANGE, "the socket is reset", || {
        // Datagrams sent before the reset get no error: the Service is gone, but the pod is there.
        Ok(errno(sock.send("after")))
    })
    .map(|error| assert_eq!(error, libc::EDESTADDRREQ))?;
    assert_eq!(errno(sock.recv_within(LOOK)), Some(libc::ECONNABORTED));
    Ok(())
}
