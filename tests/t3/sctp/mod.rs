//! SCTP through the packet path, by packets that the tests make: this needs no SCTP in the kernel,
//! and both ends compute the CRC over the whole packet themselves. Real sockets of SCTP:
//! `t5::sctp_sockets`.

mod association;

use std::{io, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::{
    addr::{self, Both},
    agent::{self, CHANGE, Start},
    agent_output,
    host::Host,
    lan::Offloads,
    manifest::{Endpoint, Service},
    matrix::{FAMILIES, each, families},
    node::{Node, PodNetwork},
    poll,
    probe::{Family, Kind},
    sctp::{Packet, chunk},
    two_nodes::TwoNodes,
};

use self::association::Association;

const PORT: u16 = 3868;
const TARGET: u16 = 13868;
/// Node ports of the services with one pod here, with one pod elsewhere, and with none.
const HERE: u16 = 30041;
const THERE: u16 = 30042;
const NOWHERE: u16 = 30043;
const WITHIN: Duration = Duration::from_secs(5);
const CIDRS: &str = "10.96.0.0/16,fd66:96::/112";
const EXTERNAL: Both = addr::lb(77);
fn services(bed: &TwoNodes) -> [Service; 3] {
    let pod = |node: &Node| Endpoint::of(node, node.pod(0));
    [
        ("here", 41, vec![pod(&bed.near)], HERE),
        ("there", 42, vec![pod(&bed.far)], THERE),
        ("nowhere", 43, Vec::new(), NOWHERE),
    ]
    .map(|(name, n, endpoints, node_port)| {
        Service::new(name, addr::vip(n))
            .one_port(Kind::Sctp, PORT, TARGET, Some(node_port))
            .ingress(addr::lb(n))
            .endpoints(endpoints)
    })
}

/// Two nodes that know the services.
fn two_nodes(network: PodNetwork, start: Start) -> Result<TwoNodes> {
    let bed = TwoNodes::new(network, Offloads::LastHop, start)?;
    let [here, there, nowhere] = services(&bed);
    let Both { v4, v6 } = EXTERNAL;
    let there = there.spec(&format!("externalIPs: [{v4}, \"{v6}\"]"));
    for service in [here, there, nowhere] {
        bed.apply(&service)?;
    }
    poll::until_true(CHANGE, "the services are known", || {
        let shown = agent::verb(&bed.near, &["get", "services"])?;
        Ok([HERE, THERE, NOWHERE].iter().all(|port| {
            let of = format!(":{port}");
            shown
                .lines()
                .any(|line| line.contains("SCTP") && line.contains(&of))
        }))
    })?;
    Ok(bed)
}

/// From outside to node ports: to a pod of the node and to one elsewhere.
fn node_ports(bed: &TwoNodes) -> Result<()> {
    let mut port = 5000;
    for family in families() {
        for (server, node_port, source) in [
            (bed.near.pod(0), HERE, bed.client.addr),
            (bed.far.pod(0), THERE, bed.source_towards_far()),
        ] {
            port += 1;
            Association {
                client: &bed.client,
                server,
                to: bed.near.addr().at(family, node_port),
                port,
                seen_from: source.ip(family),
            }
            .whole()?;
            poll::until_true(CHANGE, "the flow has ended", || {
                Ok(state(&bed.near, port)?.is_some_and(|state| is_over(&state)))
            })?;
        }
    }
    Ok(())
}

/// What `get flows` says of the client's port.
fn state(node: &Node, port: u16) -> Result<Option<String>> {
    let text = agent::verb(node, &["get", "flows", "-o", "json"])?;
    let told: Value = serde_json::from_str(&text).context("read the JSON of flows")?;
    let flows = told["items"].as_array().context("flows tells items")?;
    let client = format!(":{port}");
    let found = flows.iter().find(|flow| {
        flow["protocol"] == "SCTP"
            && flow["client"]
                .as_str()
                .is_some_and(|c| c.ends_with(&client))
    });
    Ok(found
        .and_then(|flow| flow["state"].as_str())
        .map(str::to_owned))
}

/// Both ends have said that the association is over.
fn is_over(state: &str) -> bool {
    matches!(state, "last-ack" | "time-wait" | "closed")
}

/// The error that an INIT to this address is answered with, as a socket hears it that sent it
/// there.
fn error_of_an_init(client: &Host, to: SocketAddr) -> Result<Option<i32>> {
    let sock = client.socket(Kind::SctpPackets, Family::of(&to))?;
    sock.connect(SocketAddr::new(to.ip(), 0))?;
    let init = Packet {
        ports: (4000, to.port()),
        tag: 0,
        chunk: chunk::INIT,
        body: vec![1; 16],
    };
    sock.send_packet(to.ip(), &init.bytes())?;
    let heard: io::Result<_> = sock.packet_within(poll::patient(WITHIN));
    Ok(heard.err().and_then(|error| error.raw_os_error()))
}

#[test]
fn associations_to_node_ports_by_tc() -> Result<()> {
    for network in each(PodNetwork::ALL) {
        let bed = two_nodes(network, Start::new())?;
        node_ports(&bed).with_context(|| format!("{network:?}"))?;
    }
    Ok(())
}

#[test]
fn associations_to_node_ports_by_xdp() -> Result<()> {
    let bed = two_nodes(PodNetwork::Routed, Start::new().xdp("eth0"))?;
    node_ports(&bed)?;
    ensure!(
        agent_output::counted(&bed.near, "xdp_to_tc")? == 0,
        "XDP left some of it to tc"
    );
    // A sum that is still to be made is 0, and stays so: the device that makes it takes the field
    // as it stands.
    for family in families() {
        let (client, server) = (&bed.client, bed.near.pod(0));
        let server = server.socket(Kind::SctpPackets, family)?;
        let client = client.socket(Kind::SctpPackets, family)?;
        let before = agent_output::counted(&bed.near, "xdp_to_tc")?;
        let to = bed.near.addr().at(family, HERE);
        let mut bytes = Packet {
            ports: (4321, HERE),
            tag: 0,
            chunk: chunk::INIT,
            body: vec![9; 16],
        }
        .bytes();
        bytes[8..12].fill(0);
        client.send_packet(to.ip(), &bytes)?;
        let (_, came) = server.packet_within(poll::patient(WITHIN))?;
        bytes[2..4].copy_from_slice(&TARGET.to_be_bytes());
        ensure!(came == bytes, "{came:?} came, not {bytes:?}");
        ensure!(agent_output::counted(&bed.near, "xdp_to_tc")? == before + 1);
    }
    Ok(())
}

#[test]
fn clients_of_the_node_reach_services_over_lb0() -> Result<()> {
    let start = Start::new().args(&[
        "--service-cidrs",
        CIDRS,
        "--external-ip-cidrs",
        "198.19.0.0/16,fd66:19::/64",
    ]);
    let bed = two_nodes(PodNetwork::Routed, start)?;
    poll::until_true(CHANGE, "rules lead to lb0", || {
        let rules = agent_output::rules(&bed.near)?;
        let found = rules.iter().filter(|rule| rule.contains("ipproto sctp"));
        // Three ingress IPs and an external one.
        Ok(found.count() == 4 * FAMILIES.len())
    })?;
    let mut port = 6000;
    for family in families() {
        let pod = bed.near.pod(1).host();
        let host: &Host = &bed.near;
        // The rules ask for a port, which the host's raw socket does not say: a socket of SCTP
        // would.
        let clients = [
            (pod, addr::vip(41), addr::vip(42)),
            (host, addr::vip(41), addr::vip(42)),
            (pod, addr::lb(41), addr::lb(42)),
            (pod, addr::lb(41), EXTERNAL),
        ];
        for (client, here, there) in clients {
            for (server, vip, source) in [
                (bed.near.pod(0), here, addr::LB0),
                (bed.far.pod(0), there, bed.near.addr()),
            ] {
                port += 1;
                let to = vip.at(family, PORT);
                Association {
                    client,
                    server,
                    to,
                    port,
                    seen_from: source.ip(family),
                }
                .whole()
                .with_context(|| format!("from {} to {to}", client.netns().name()))?;
            }
        }
        for client in [pod, host] {
            for to in [
                addr::vip(43).at(family, PORT),
                addr::vip(41).at(family, 4444),
            ] {
                let error = error_of_an_init(client, to)?;
                ensure!(error == Some(libc::ECONNREFUSED), "{to}: {error:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_nobody_serves_is_refused_and_errors_of_others_come_through() -> Result<()> {
    let bed = two_nodes(PodNetwork::Routed, Start::new())?;
    for family in families() {
        let near = bed.near.addr();
        let before = agent_output::counted(&bed.near, "pkt_no_endpoint")?;
        let error = error_of_an_init(&bed.client, near.at(family, NOWHERE))?;
        ensure!(error == Some(libc::ECONNREFUSED), "{error:?}");
        ensure!(agent_output::counted(&bed.near, "pkt_no_endpoint")? == before + 1);
        // The pods' kernel has no SCTP and no program there takes its packets: the kernel sends an
        // ICMP error to the VIP's client.
        let no_such_protocol = match family {
            Family::V4 => libc::ENOPROTOOPT,
            Family::V6 => libc::EPROTO,
        };
        for node_port in [HERE, THERE] {
            let error = error_of_an_init(&bed.client, near.at(family, node_port))?;
            ensure!(error == Some(no_such_protocol), "{node_port}: {error:?}");
        }
    }
    Ok(())
}

#[test]
fn an_association_outlives_its_backends_place_in_the_service() -> Result<()> {
    let bed = two_nodes(PodNetwork::Routed, Start::new())?;
    let [_, there, _] = services(&bed);
    for (family, port) in families().zip(7000..) {
        let association = Association {
            client: &bed.client,
            server: bed.far.pod(0),
            to: bed.near.addr().at(family, THERE),
            port,
            seen_from: bed.source_towards_far().ip(family),
        };
        let mut open = association.open()?;
        open.asks(chunk::DATA, 100)?;
        ensure!(state(&bed.near, port)?.as_deref() == Some("established"));
        bed.apply(&there.clone().endpoints([]))?;
        let pod = bed.far.pod(0).addr().at(family, TARGET).to_string();
        let serves = || Ok(agent::verb(&bed.near, &["get", "services"])?.contains(&pod));
        poll::until_true(CHANGE, "the backend is gone", || Ok(!serves()?))?;
        let error = error_of_an_init(&bed.client, association.to)?;
        ensure!(error == Some(libc::ECONNREFUSED), "{error:?}");
        open.asks(chunk::DATA, 100)?;
        open.answers(chunk::DATA, 100)?;
        open.asks(chunk::ABORT, 0)?;
        ensure!(state(&bed.near, port)?.is_some_and(|state| is_over(&state)));
        bed.apply(&there)?;
        poll::until_true(CHANGE, "the backend is back", serves)?;
    }
    Ok(())
}

#[test]
fn without_lb0_it_is_told_and_packets_from_outside_are_carried() -> Result<()> {
    let bed = two_nodes(PodNetwork::Routed, Start::new().args(&["--lb0", "off"]))?;
    node_ports(&bed)?;
    let skipped = agent_output::metric(
        &bed.near,
        "lb_agent_skipped_ports{reason=\"sctp_without_lb0\"}",
    )?;
    ensure!((skipped - 3.0).abs() < 0.5, "{skipped} ports");
    let named = agent_output::partially_programmed(&bed.near)?;
    ensure!(named.len() == 3, "{named:?}");
    Ok(())
}
