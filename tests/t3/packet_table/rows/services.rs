//! What a Service's endpoints and policies make of a packet.

use lb_common::Reason::{
    PktEcho, PktForwarded, PktLocal, PktNoEndpoint, PktNoFlow, PktNoLocalEndpoint, PktNoRoute,
    PktRefusalLimited, PktReply, PktSourceDenied, PktUnknownPort, XdpToTc,
};

use crate::packet_table::{
    expect::{DROPPED, PASSED, REFUSED, TO_THE_CLIENT, to, to_one_of, to_the_first_of},
    packet::{ACK, At, Packet, RST, SYN, chunk, ping, sctp, syn, tcp, udp},
    plan::{
        BACKEND_PORT, CLIENT, Device, FAR, FAR_CLIENT, FAR2, FOREIGN_POD, HERE, MISPLACED,
        NAMELESS, POD, PODNET, PODNET_CLIENT, PODNET_HERE, PODNET_TURN, Peer, S_AFFINE, S_EMPTY,
        S_FAR, S_INTERNAL_ONLY, S_LOCAL_ONLY, S_MASQUERADED, S_MISPLACED, S_NAMELESS, S_NOWHERE,
        S_PAIR, S_PODNET, S_PODNET_HERE, S_PODNET_LOCAL, S_RANGES, S_RING, S_SELF, S_SLOW, SELF,
        SLOW,
    },
    row::{Hook, NOTHING, Row, row},
    stage::Place,
};

pub(super) fn rows() -> Vec<Row> {
    [
        refusals(),
        policies(),
        ranges(),
        choices(),
        places(),
        masqueraded(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whom the backend sees then is the stack's to do: `t3::forwarding`.
fn masqueraded() -> Vec<Row> {
    vec![
        row("a SYN that the stack is to masquerade goes to the backend of this node as it came")
            .given(syn().to(S_MASQUERADED.node_port()))
            .then(to(HERE), PktLocal)
            .only(Hook::TC),
        row("XDP leaves a SYN that the stack is to masquerade to tc, which marks it")
            .given(syn().to(S_MASQUERADED.node_port()))
            .then(to(HERE), [PktLocal, XdpToTc])
            .given(syn().again())
            .then(to(HERE), [PktLocal, XdpToTc])
            .only(Hook::XDP),
    ]
}

fn refusals() -> Vec<Row> {
    vec![
        row("a SYN for a Service without endpoints is reset")
            .given(syn().to(S_EMPTY.node_port()))
            .then(REFUSED, PktNoEndpoint)
            .records(Place::Nowhere),
        row("a datagram for a Service without endpoints gets port unreachable")
            .given(udp().to(S_EMPTY.node_port()))
            .then(REFUSED, PktNoEndpoint),
        row("an INIT for a Service without endpoints gets port unreachable")
            .given(sctp(chunk::INIT).to(S_EMPTY.node_port()))
            .then(REFUSED, PktNoEndpoint),
        row("a segment with data for a Service without endpoints is reset by its own numbers")
            .given(tcp(ACK).to(S_EMPTY.node_port()))
            .then(REFUSED, PktNoEndpoint),
        row("a SYN with data for a Service without endpoints is reset, its data acknowledged")
            .given(tcp(SYN).to(S_EMPTY.vip()))
            .then(REFUSED, PktNoEndpoint),
        row("a segment with TCP options for a Service without endpoints is reset")
            .given(syn().tcp_options(12).to(S_EMPTY.node_port()))
            .then(REFUSED, PktNoEndpoint),
        row("a reset for a Service without endpoints is not answered")
            .given(tcp(RST).to(S_EMPTY.node_port()))
            .then(DROPPED, PktNoFlow),
        row("a refused SYN with IPv4 options is not answered")
            .given(syn().options(8).to(S_EMPTY.node_port()))
            .then(DROPPED, PktNoEndpoint)
            .v4(),
        row("a SYN for a port that a cluster IP does not have is reset")
            .given(syn().to(S_FAR.vip().port(81)))
            .then(REFUSED, PktUnknownPort),
        row("a datagram for a port that a cluster IP does not have gets port unreachable")
            .given(udp().to(S_FAR.vip().port(81)))
            .then(REFUSED, PktUnknownPort),
        row("an INIT for a port that a cluster IP does not have gets port unreachable")
            .given(sctp(chunk::INIT).to(S_FAR.vip().port(81)))
            .then(REFUSED, PktUnknownPort),
        row("a reset for a port that a cluster IP does not have is not answered")
            .given(tcp(RST | ACK).to(S_FAR.vip().port(81)))
            .then(DROPPED, PktUnknownPort),
        row("a port that a load balancer's address does not have is left to the stack")
            .given(syn().to(S_FAR.lb().port(81)))
            .then(PASSED, NOTHING),
        row("a port that an external IP does not have is left to the stack")
            .given(udp().to(S_FAR.external().port(81)))
            .then(PASSED, NOTHING),
        row("a port of the node that is no node port is left to the stack")
            .given(syn().to(S_FAR.node_port().port(22)))
            .then(PASSED, NOTHING),
        row("a refusal for the same Service comes to an end when many ask at once")
            .given(udp().to(S_EMPTY.node_port()))
            .then(crate::packet_table::expect::ANYTHING, NOTHING)
            .times(200)
            .given(udp().to(S_EMPTY.node_port()))
            .then(DROPPED, [PktNoEndpoint, PktRefusalLimited]),
    ]
}

fn policies() -> Vec<Row> {
    vec![
        row("external policy Local without a local endpoint drops what comes to the node port")
            .given(syn().to(S_LOCAL_ONLY.node_port()))
            .then(DROPPED, PktNoLocalEndpoint)
            .records(Place::Nowhere),
        row("external policy Local without a local endpoint drops what comes to the load balancer")
            .given(udp().to(S_LOCAL_ONLY.lb()))
            .then(DROPPED, PktNoLocalEndpoint),
        row("external policy Local without a local endpoint drops what comes to an external IP")
            .given(sctp(chunk::INIT).to(S_LOCAL_ONLY.external()))
            .then(DROPPED, PktNoLocalEndpoint),
        row("external policy Local says nothing of cluster IPs")
            .given(syn().to(S_LOCAL_ONLY.vip()))
            .then(to(FAR), PktForwarded),
        row("internal policy Local without a local endpoint drops what comes to the cluster IP")
            .given(syn().to(S_INTERNAL_ONLY.vip()))
            .then(DROPPED, PktNoLocalEndpoint),
        row("internal policy Local says nothing of node ports")
            .given(syn().to(S_INTERNAL_ONLY.node_port()))
            .then(to(FAR), PktForwarded),
        row("a pod of this node reaches a load balancer's address whatever the external policy")
            .given(syn().from(POD).to(S_LOCAL_ONLY.lb()).at(At::Lb0))
            .then(to(FAR), PktForwarded),
        row("a pod's packet for a cluster IP of internal policy Local without endpoint is dropped")
            .given(syn().from(POD).to(S_INTERNAL_ONLY.vip()).at(At::Lb0))
            .then(DROPPED, PktNoLocalEndpoint),
        row("a pod of another node is inside for a node port of external policy Local")
            .given(
                syn()
                    .from(FOREIGN_POD)
                    .to(S_LOCAL_ONLY.node_port())
                    .at(At::Ingress(Device::Eth1)),
            )
            .then(to(FAR), PktForwarded),
        row("datagrams of a pod of another node stay where external policy Local led them")
            .given(
                udp()
                    .from(FOREIGN_POD)
                    .to(S_LOCAL_ONLY.lb())
                    .at(At::Ingress(Device::Eth1)),
            )
            .then(to(FAR), PktForwarded)
            .records(Place::New)
            .given(udp().again())
            .then(to(FAR), PktForwarded)
            .records(Place::New),
        row("a pod of another node asks a cluster IP by the internal policy")
            .given(
                syn()
                    .from(FOREIGN_POD)
                    .to(S_INTERNAL_ONLY.vip())
                    .at(At::Ingress(Device::Eth1)),
            )
            .then(DROPPED, PktNoLocalEndpoint),
        row("a ping of a pod to a load balancer's address of external policy Local is answered")
            .given(ping().from(POD).to(S_LOCAL_ONLY.lb()).at(At::Lb0))
            .then(crate::packet_table::expect::ECHOED, PktEcho),
    ]
}

fn ranges() -> Vec<Row> {
    vec![
        row("a source in the source ranges is admitted to the load balancer")
            .given(syn().to(S_RANGES.lb()))
            .then(to(FAR), PktForwarded),
        row("a source outside of the source ranges is dropped at the load balancer")
            .given(syn().from(FAR_CLIENT).to(S_RANGES.lb()))
            .then(DROPPED, PktSourceDenied)
            .records(Place::Nowhere),
        row("a datagram from outside of the source ranges is dropped")
            .given(udp().from(FAR_CLIENT).to(S_RANGES.lb()))
            .then(DROPPED, PktSourceDenied),
        row("a reset from outside of the source ranges is dropped for its source")
            .given(tcp(RST).from(FAR_CLIENT).to(S_RANGES.lb()))
            .then(DROPPED, PktSourceDenied),
        row("source ranges say nothing of node ports")
            .given(syn().from(FAR_CLIENT).to(S_RANGES.node_port()))
            .then(to(FAR), PktForwarded),
        row("source ranges say nothing of external IPs")
            .given(syn().from(FAR_CLIENT).to(S_RANGES.external()))
            .then(to(FAR), PktForwarded),
        row("a pod outside of the source ranges is dropped on lb0")
            .given(syn().from(POD).to(S_RANGES.lb()).at(At::Lb0))
            .then(DROPPED, PktSourceDenied),
    ]
}

fn choices() -> Vec<Row> {
    const PAIR: &[crate::packet_table::plan::Backend] = &[FAR, FAR2];
    vec![
        row("one of two backends is chosen, and the connection stays there")
            .given(syn().to(S_PAIR.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .given(syn().to(S_PAIR.node_port()))
            .then(to_the_first_of(PAIR), PktForwarded)
            .times(5),
        row("with session affinity other connections of the client reach the same backend")
            .given(syn().to(S_AFFINE.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .given(syn().from(CLIENT.port(42_001)).to(S_AFFINE.node_port()))
            .then(to_the_first_of(PAIR), PktForwarded)
            .given(syn().from(CLIENT.port(42_002)).to(S_AFFINE.node_port()))
            .then(to_the_first_of(PAIR), PktForwarded)
            .given(syn().from(CLIENT.port(42_003)).to(S_AFFINE.vip()))
            .then(to_the_first_of(PAIR), PktForwarded)
            .given(syn().from(CLIENT.port(42_004)).to(S_AFFINE.lb()))
            .then(to_the_first_of(PAIR), PktForwarded)
            .given(syn().from(CLIENT.port(42_005)).to(S_AFFINE.node_port()))
            .then(to_the_first_of(PAIR), PktForwarded),
    ]
}

/// The client's packet as it goes on to PODNET_HERE.
fn translated(packet: Packet) -> Packet {
    packet
        .from(CLIENT)
        .to(Peer::new(PODNET_HERE.addr, BACKEND_PORT))
}

/// What PODNET_HERE answers.
fn translated_answer(packet: Packet) -> Packet {
    packet
        .from(Peer::new(PODNET_HERE.addr, BACKEND_PORT))
        .to(CLIENT)
}

fn places() -> Vec<Row> {
    vec![
        row("a backend that no route leads to: the packet is dropped")
            .given(syn().to(S_NOWHERE.node_port()))
            .then(DROPPED, PktNoRoute)
            .records(Place::Nowhere),
        row("a backend that no route leads to: the datagram is dropped")
            .given(udp().to(S_NOWHERE.node_port()))
            .then(DROPPED, PktNoRoute),
        row("a backend that no route leads to: a pod's packet is dropped on lb0")
            .given(syn().from(POD).to(S_NOWHERE.vip()).at(At::Lb0))
            .then(DROPPED, PktNoRoute),
        row("an endpoint that names no node is found on this one by its route")
            .given(syn().to(S_NAMELESS.node_port()))
            .then(to(NAMELESS), PktLocal)
            .given(tcp(SYN | ACK).answer(None))
            .then(TO_THE_CLIENT, PktReply),
        row("where XDP cannot send it says so and leaves the packet to tc")
            .given(syn().to(S_SLOW.node_port()))
            .then(to(SLOW), [XdpToTc, PktForwarded])
            .only(Hook::XDP),
        row("an endpoint that is a Service's address is none")
            .given(syn().to(S_RING.node_port()))
            .then(REFUSED, PktNoEndpoint),
        row("an endpoint without a node's name at any address of this node is local")
            .given(syn().to(S_SELF.node_port()))
            .then(to(SELF), PktLocal),
        row("a backend of another node behind a bridge gets our address, and answers it")
            .given(syn().to(S_PODNET.node_port()))
            .then(to(PODNET), PktForwarded)
            .given(tcp(SYN | ACK).answer(PODNET.way))
            .then(TO_THE_CLIENT, PktReply),
        row("a backend of this node behind a device that leads to other nodes too sees the client")
            .given(syn().to(S_PODNET_HERE.node_port()))
            .then(to(PODNET_HERE), PktLocal)
            .given(translated(syn()).at(At::Egress(Device::Br0)))
            .then(PASSED, NOTHING)
            .given(translated_answer(tcp(SYN | ACK)).at(At::Ingress(Device::Br0)))
            .then(PASSED, NOTHING)
            .given(tcp(SYN | ACK).answer(None))
            .then(TO_THE_CLIENT, PktReply),
        row("a pod that asks for one behind the same bridge is answered by way of the node")
            .given(
                syn()
                    .from(PODNET_CLIENT)
                    .to(S_PODNET_HERE.vip())
                    .at(At::Ingress(Device::Br0)),
            )
            .then(to(PODNET_TURN), PktForwarded),
        row("a pod behind a bridge is inside for external policy Local")
            .given(
                syn()
                    .from(PODNET_CLIENT)
                    .to(S_PODNET_LOCAL.node_port())
                    .at(At::Ingress(Device::Br0)),
            )
            .then(to(PODNET), PktForwarded),
        row("where a backend runs is the route's word, not its endpoint's")
            .given(syn().to(S_MISPLACED.node_port()))
            .then(to(MISPLACED), PktForwarded),
    ]
}
