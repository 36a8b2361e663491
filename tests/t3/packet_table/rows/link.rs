//! What stands before the network header: tags, EtherTypes, hardware addresses.

use lb_common::Reason::{PktForwarded, PktLocal, PktNoEndpoint, PktReply, PktTtlExpired};

use crate::packet_table::{
    expect::{EXPIRED, PASSED, REFUSED, TO_THE_CLIENT, to},
    packet::{ACK, At, Layer, Packet, SYN, syn, tcp, udp},
    plan::{FAR, HERE, Peer, S_EMPTY, S_FAR, S_HERE, TUNNEL_CLIENT},
    row::{Hook, NOTHING, Row, row},
};

const BROADCAST: [u8; 6] = [0xff; 6];
const MULTICAST: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 1];
const OTHER_HOST: [u8; 6] = [2, 0, 0, 0, 7, 7];

/// See [`crate::packet_table::plan::Device::mac`].
fn tunnelled(to: Peer) -> Packet {
    syn().options(4).from(TUNNEL_CLIENT).to(to).at(At::Tunnel)
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("a frame with a VLAN tag is the VLAN device's")
            .given(syn().vlan(100))
            .then(PASSED, NOTHING),
        row("a datagram with a VLAN tag is the VLAN device's")
            .given(udp().vlan(4094).to(S_HERE.node_port()))
            .then(PASSED, NOTHING),
        row("a frame with two VLAN tags passes")
            .given(syn().vlan(7).vlan(100))
            .then(PASSED, NOTHING),
        row("a frame without a tag from a real wire goes to its backend")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .only(Hook::WIRE),
        row("a frame with a tag from a real wire is the VLAN device's")
            .given(syn().vlan(100))
            .then(PASSED, NOTHING)
            .only(Hook::WIRE),
        row("a frame with a priority tag, VLAN id 0, is one without a tag")
            .given(syn().vlan(0))
            .then(to(FAR), PktForwarded)
            .only(Hook::WIRE),
        row("a SYN from a device without link headers is sent on with one")
            .given(tunnelled(S_FAR.node_port()))
            .then(to(FAR), PktForwarded)
            .given(tcp(SYN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .only(&[Hook::Tc]),
        row("a SYN from a device without link headers for a backend of this node gets none")
            .given(tunnelled(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .only(&[Hook::Tc]),
        row("a SYN from a device without link headers is refused with one")
            .given(tunnelled(S_EMPTY.node_port()))
            .then(REFUSED, PktNoEndpoint)
            .only(&[Hook::Tc])
            .v6(),
        row("a SYN with one hop left from a device without link headers is answered with one")
            .given(tunnelled(S_FAR.node_port()).ttl(1))
            .then(EXPIRED, PktTtlExpired)
            .only(&[Hook::Tc])
            .v6(),
        row("a frame of another EtherType passes")
            .given(syn().edit(Layer::Link, 12, &[0x88, 0x64]))
            .then(PASSED, NOTHING),
        row("an ARP frame passes")
            .given(syn().edit(Layer::Link, 12, &[0x08, 0x06]))
            .then(PASSED, NOTHING),
        row("a unicast packet in a broadcast frame is not sent on")
            .given(syn().mac(BROADCAST))
            .then(PASSED, NOTHING),
        row("a unicast datagram in a multicast frame is not sent on")
            .given(udp().mac(MULTICAST).to(S_FAR.lb()))
            .then(PASSED, NOTHING),
        row("a frame for another host that a promiscuous device takes in passes tc")
            .given(syn().mac(OTHER_HOST))
            .then(PASSED, NOTHING)
            .only(Hook::TC),
        row("a frame for another host that a promiscuous device takes in passes XDP")
            .given(syn().mac(OTHER_HOST).to(S_FAR.lb()))
            .then(PASSED, NOTHING)
            .only(Hook::XDP),
        row("the largest frame that XDP takes in one piece goes to its backend")
            .given(udp().payload(3_300))
            .then(to(FAR), PktForwarded),
        row("a jumbo frame goes to its backend by XDP")
            .given(udp().payload(8_900))
            .then(to(FAR), PktForwarded)
            .only(Hook::XDP),
    ]
}
