//! Port 0, and the range that sources are rewritten to.

use anyhow::{Result, ensure};
use lb_agent::{flows::clock::monotonic, maps::table::HashTable as _};
use lb_common::{
    Addr,
    Reason::{
        PktForwarded, PktLocal, PktNoFlow, PktPortRewritten, PktSnatExhausted, PktUnknownPort,
    },
    flow::{Flow, FlowKey, direction, seen, units},
};
use testbed::probe::Family;

use crate::packet_table::{
    expect::{DROPPED, PASSED, Port, REFUSED, to},
    packet::{ACK, SYN, syn, tcp, udp},
    plan::{BACKEND_PORT, CLIENT, FAR, FAR_CLIENT, HERE, NODE, NODE_ETH1, S_FAR, S_HERE},
    row::{NOTHING, Row, row},
    scene::Scene,
    stage::Place,
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("a datagram from port 0 has no answer and is balanced all the same")
            .given(udp().from(CLIENT.port(0)))
            .then(to(FAR), PktForwarded),
        row("a SYN from port 0 goes to its backend")
            .given(syn().from(CLIENT.port(0)))
            .then(to(FAR), PktForwarded),
        row("a datagram from port 0 keeps it towards a backend of this node")
            .given(udp().from(CLIENT.port(0)).to(S_HERE.node_port()))
            .then(to(HERE), PktLocal),
        row("a SYN to port 0 of a cluster IP is reset")
            .given(syn().to(S_FAR.vip().port(0)))
            .then(REFUSED, PktUnknownPort),
        row("a datagram to port 0 of the node passes")
            .given(udp().to(S_FAR.node_port().port(0)))
            .then(PASSED, NOTHING),
        row("a datagram from port 0 to port 0 of a load balancer's address passes")
            .given(udp().from(CLIENT.port(0)).to(S_FAR.lb().port(0)))
            .then(PASSED, NOTHING),
        row("a client keeps its port where no one else has it")
            .given(syn().from(CLIENT.port(64_000)))
            .then(to(FAR).port(Port::Own), PktForwarded),
        row("a client gets another port where another one has its own")
            .meanwhile(|scene, family| fill(scene, family, 6, OPEN, 1, own_port()))
            .given(syn())
            .then(to(FAR).port(Port::Range), PktForwarded),
        row("when every port towards a backend belongs to an open connection the SYN is dropped")
            .meanwhile(|scene, family| fill(scene, family, 6, OPEN, 1, all_ports()))
            .given(syn())
            .then(DROPPED, PktSnatExhausted),
        row("a datagram is dropped when every port belongs to an answered flow of 119 seconds")
            .meanwhile(|scene, family| fill(scene, family, 17, OPEN, 119, all_ports()))
            .given(udp())
            .then(DROPPED, PktSnatExhausted),
        row("a datagram takes the port of an answered flow that is idle for 130 seconds")
            .meanwhile(|scene, family| fill(scene, family, 17, OPEN, 130, all_ports()))
            .given(udp())
            .then(to(FAR), PktForwarded),
        row("a datagram takes the port of a flow without answer that is idle for 40 seconds")
            .meanwhile(|scene, family| fill(scene, family, 17, UNANSWERED, 40, all_ports()))
            .given(udp())
            .then(to(FAR), PktForwarded),
        row("a SYN takes the port of a connection that is closed for 61 seconds")
            .meanwhile(|scene, family| fill(scene, family, 6, CLOSED, 61, all_ports()))
            .given(syn())
            .then(to(FAR), PktForwarded),
        row("when ports are short a SYN takes that of a connection closed for 14 seconds")
            .meanwhile(|scene, family| fill(scene, family, 6, CLOSED, 14, all_ports()))
            .given(syn())
            .then(to(FAR).port(Port::Range), PktForwarded),
        row("when ports are short a SYN takes that of a handshake without answer for 61 seconds")
            .meanwhile(|scene, family| fill(scene, family, 6, UNANSWERED, 61, all_ports()))
            .given(syn())
            .then(to(FAR).port(Port::Range), PktForwarded),
        row("a connection that was open for 25 hours without a packet gives its port away")
            .meanwhile(|scene, family| fill(scene, family, 6, OPEN, 25 * 3600, all_ports()))
            .given(syn())
            .then(to(FAR), PktForwarded),
        row("towards a backend of this node a second connection from one port gets another")
            .given(syn().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(syn().to(S_HERE.lb()))
            .then(to(HERE).port(Port::Range), [PktPortRewritten, PktLocal]),
        row("a late answer to a port of our range that no flow has is dropped")
            .given(syn().from(CLIENT.port(64_000)))
            .then(to(FAR), PktForwarded)
            .meanwhile(|scene, _| {
                let (new, old) = (
                    scene.state.new.entries()?,
                    scene.state.established.entries()?,
                );
                let done = scene.state.new.remove(&keys(&new));
                ensure!(done.error.is_none(), "{done:?}");
                let done = scene.state.established.remove(&keys(&old));
                ensure!(done.error.is_none(), "{done:?}");
                Ok(())
            })
            .given(tcp(SYN | ACK).answer(FAR.way))
            .then(DROPPED, PktNoFlow),
        row("a packet to a port of our range from a host that is no backend passes")
            .given(
                tcp(ACK)
                    .from(FAR_CLIENT)
                    .to(crate::packet_table::plan::Peer::new(NODE, 61_234)),
            )
            .then(PASSED, NOTHING)
            .records(Place::Nowhere),
    ]
}

fn keys(entries: &[(FlowKey, Flow)]) -> Vec<FlowKey> {
    entries.iter().map(|(key, _)| *key).collect()
}

/// What both sides of a connection have done: client, server.
type Seen = (u8, u8);
const OPEN: Seen = (seen::PACKET | seen::DATA, seen::PACKET | seen::DATA);
const UNANSWERED: Seen = (seen::PACKET, 0);
const CLOSED: Seen = (OPEN.0 | seen::FIN, OPEN.1 | seen::FIN);

/// The client's own port.
fn own_port() -> Vec<u16> {
    vec![CLIENT.port]
}

/// Every port that a client's flow may get: its own, and those of the range.
fn all_ports() -> Vec<u16> {
    (61_000..=65_535).chain(own_port()).collect()
}

/// Gives these ports towards FAR to flows of another client, which had their last packets so many
/// seconds ago.
fn fill(
    scene: &mut Scene,
    family: Family,
    proto: u8,
    seen: Seen,
    seconds: u64,
    ports: Vec<u16>,
) -> Result<()> {
    let addr = |both: testbed::addr::Both| Addr::from(both.ip(family));
    let last = monotonic().wrapping_sub(seconds * 1_000_000_000);
    let records: Vec<(FlowKey, Flow)> = ports
        .into_iter()
        .map(|port| {
            let key = FlowKey {
                src: addr(FAR.addr),
                dst: addr(NODE_ETH1),
                sport: BACKEND_PORT,
                dport: port,
                proto,
                pad: [0; 3],
            };
            let flow = Flow {
                src: addr(NODE),
                dst: addr(FAR_CLIENT.addr),
                sport: S_FAR.node_port().port,
                dport: port,
                ifindex: 1,
                pool: 1,
                backend: 1,
                generation: 77,
                direction: direction::REPLY,
                flags: 0,
                client: seen.0,
                server: seen.1,
                proof: 0,
                seen: units(last),
            };
            (key, flow)
        })
        .collect();
    let done = scene.state.established.insert(&records);
    ensure!(done.error.is_none(), "{done:?}");
    Ok(())
}
