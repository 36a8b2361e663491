//! ICMP errors of every type, from both sides of a flow.

use anyhow::Result;
use lb_common::{
    Reason::{PktForwarded, PktIcmpError, PktLocal, PktReply},
    flow::units_of,
};
use testbed::probe::Family;

use crate::packet_table::{
    expect::{By, Out, PASSED, TO_THE_CLIENT, follows, to},
    packet::{At, Error, Packet, Quote, error, udp},
    plan::{
        CLIENT, Device, FAR, HERE, INNER_ROUTER, NODE_CNI, Peer, ROUTER, S_FAR, S_HERE, TO_CLIENT,
    },
    row::{NOTHING, Row, row},
    scene::Scene,
};

/// Every error that follows its flow, with its name and the family that has it alone.
fn errors() -> Vec<(Error, String, Option<Family>)> {
    let mut errors = vec![];
    // Code 4 of IPv4 is too big.
    for code in (0..=15).filter(|code| *code != 4) {
        let name = format!("IPv4 unreachable, code {code}");
        errors.push((Error::Unreachable4(code), name, Some(Family::V4)));
    }
    for code in 0..=7 {
        let name = format!("IPv6 unreachable, code {code}");
        errors.push((Error::Unreachable6(code), name, Some(Family::V6)));
    }
    for (error, name) in [
        (Error::TooBig(1_300), "packet too big"),
        (Error::Time(0), "time exceeded in transit"),
        (Error::Time(1), "time exceeded at reassembly"),
        (Error::Parameter(0), "parameter problem, code 0"),
        (Error::Parameter(1), "parameter problem, code 1"),
        (Error::Parameter(2), "parameter problem, code 2"),
    ] {
        errors.push((error, name.to_owned(), None));
    }
    errors
}

fn only(row: Row, family: Option<Family>) -> Row {
    match family {
        Some(Family::V4) => row.v4(),
        Some(Family::V6) => row.v6(),
        None => row,
    }
}

/// An error about the last packet, from this address, in by this device.
fn about_last(what: Error, from: Peer, device: Device) -> Packet {
    error(what, Quote::LAST).from(from).at(At::Ingress(device))
}

pub(super) fn rows() -> Vec<Row> {
    let inner = Peer::new(INNER_ROUTER, 0);
    let outer = Peer::new(ROUTER, 0);
    let mut rows = vec![];
    for (what, name, family) in errors() {
        let request = row(format!(
            "{name}: a router before the backend tells the client"
        ))
        .given(udp())
        .then(to(FAR), PktForwarded)
        .given(about_last(what, inner, Device::Eth1))
        .then(
            follows(Out::Sent(Some(TO_CLIENT)), By::Addressed),
            PktIcmpError,
        );
        let answer = row(format!(
            "{name}: a router before the client tells the backend"
        ))
        .given(udp())
        .then(to(FAR), PktForwarded)
        .given(udp().answer(FAR.way))
        .then(TO_THE_CLIENT, PktReply)
        .given(about_last(what, outer, Device::Eth0))
        .then(follows(Out::Sent(FAR.way), By::Addressed), PktIcmpError);
        let local = row(format!(
            "{name}: a router before the client tells a backend of this node"
        ))
        .given(udp().to(S_HERE.node_port()))
        .then(to(HERE), PktLocal)
        .given(udp().answer(None))
        .then(TO_THE_CLIENT, PktReply)
        .given(about_last(what, outer, Device::Eth0))
        .then(follows(Out::Stack, By::Sender), PktIcmpError);
        rows.extend([request, answer, local].map(|row| only(row, family)));
    }
    rows.extend(ends());
    rows.extend(strangers());
    rows
}

/// Errors of the two ends themselves.
fn ends() -> Vec<Row> {
    let backend = Peer::new(FAR.addr, 0);
    let pod = Peer::new(HERE.addr, 0);
    let leaving = |from| {
        error(Error::Port, Quote::LAST)
            .from(from)
            .at(At::Egress(Device::Eth0))
    };
    vec![
        row("port unreachable of a backend of another node reaches the client from the VIP")
            .given(udp().to(S_FAR.lb()))
            .then(to(FAR), PktForwarded)
            .given(about_last(Error::Port, backend, Device::Eth1))
            .then(
                follows(Out::Sent(Some(TO_CLIENT)), By::Addressed),
                PktIcmpError,
            ),
        row("port unreachable of a backend of this node leaves from the VIP")
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(leaving(pod))
            .then(follows(Out::Stack, By::Addressed), PktIcmpError),
        row("port unreachable of a backend of this node passes once its flow is past")
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .meanwhile(|scene, _| silent_for_minutes(scene))
            .given(leaving(pod))
            .then(PASSED, NOTHING),
        row("port unreachable of a backend of another node passes once its flow is past")
            .given(udp().to(S_FAR.lb()))
            .then(to(FAR), PktForwarded)
            .meanwhile(|scene, _| silent_for_minutes(scene))
            .given(about_last(Error::Port, backend, Device::Eth1))
            .then(PASSED, NOTHING),
        row("an error of this node about a packet to its own backend keeps its sender")
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(leaving(Peer::new(NODE_CNI, 0)))
            .then(follows(Out::Stack, By::Sender), PktIcmpError),
        row("port unreachable of the client reaches the backend of another node")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(udp().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(about_last(Error::Port, CLIENT, Device::Eth0))
            .then(follows(Out::Sent(FAR.way), By::Addressed), PktIcmpError),
        row("port unreachable of the client reaches the backend of this node")
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(udp().answer(None))
            .then(TO_THE_CLIENT, PktReply)
            .given(about_last(Error::Port, CLIENT, Device::Eth0))
            .then(follows(Out::Stack, By::Sender), PktIcmpError),
    ]
}

/// No flow has had a packet for three minutes, longer than one of UDP is kept.
fn silent_for_minutes(scene: &mut Scene) -> Result<()> {
    scene
        .state
        .change_replies(|flow| flow.seen = flow.seen.wrapping_sub(units_of(180)))
}

/// Messages that follow no flow.
fn strangers() -> Vec<Row> {
    let inner = Peer::new(INNER_ROUTER, 0);
    let mut rows = vec![
        row("an error about a packet of no flow passes")
            .given(udp().to(crate::packet_table::plan::ELSEWHERE))
            .then(PASSED, NOTHING)
            .given(about_last(Error::Port, inner, Device::Eth0))
            .then(PASSED, NOTHING),
        row("an echo request to the node passes")
            .given(crate::packet_table::packet::ping())
            .then(PASSED, NOTHING),
        row("an echo request to a cluster IP from outside passes")
            .given(crate::packet_table::packet::ping().to(S_FAR.vip()))
            .then(PASSED, NOTHING),
        row("an echo request to a load balancer's address from outside passes")
            .given(crate::packet_table::packet::ping().to(S_FAR.lb()))
            .then(PASSED, NOTHING),
        row("an ICMP message that ends within its header passes")
            .given(crate::packet_table::packet::ping().payload(0).cut(4))
            .then(PASSED, NOTHING),
    ];
    for (what, name, family) in [
        (Error::Quench, "a source quench", Some(Family::V4)),
        (Error::Redirect, "a redirect", None),
        (Error::Unknown, "an error of an unassigned type", None),
    ] {
        let stranger = row(format!("{name} about a flow of ours is the stack's"))
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(about_last(what, inner, Device::Eth1))
            .then(PASSED, NOTHING);
        rows.push(only(stranger, family));
    }
    rows
}
