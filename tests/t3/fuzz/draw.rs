//! Sequences drawn at random: a few connections that share clients, ports and backends, their
//! packets in any order, and strays, broken frames and pauses in between.

use testbed::probe::Family;

use super::{
    case::{Sequence, Step},
    model::cluster::SERVICES,
    random::Random,
};
use crate::packet_table::{
    packet::{
        ACK, At, Body, Extension, FIN, Layer, PSH, Packet, RST, SYN, Sum, chunk, other, ping, sctp,
        syn, tcp, udp,
    },
    plan::{
        BACKEND_PORT, CLIENT, Device, ELSEWHERE, FAR, FAR_CLIENT, FOREIGN_POD, HERE, MISPLACED,
        NAMELESS, NODE, NODE_ETH1, NODE_ETH2, NOWHERE, POD, PODNET_CLIENT, PODNET_HERE, Peer,
        S_HERE, SLOW, Svc, TURN, UNALLOCATED,
    },
    row::Hook,
};

/// Steps of a sequence, at most.
const STEPS: usize = 40;
/// Pauses shorter than a unit of the entries' times, at most; see [`super::model::flow`].
const SHORT_PAUSES: usize = 5;

/// Who talks to whom.
#[derive(Clone)]
struct Connection {
    client: Peer,
    to: Peer,
    /// Where the client's packets are seen.
    at: At,
    /// Where the answers are seen.
    back: At,
    proto: u8,
    /// The last packet of its client's.
    last: Option<usize>,
}

/// Draws the sequence of a seed; `summed`: the kernel knows sums of cards.
pub(crate) fn sequence(seed: u64, summed: bool) -> Sequence {
    let mut random = Random::new(seed);
    let family = random.of(&[Family::V4, Family::V6]);
    let count = 1 + random.below(4);
    let proto = random.of(&[6, 6, 6, 17, 17, 132]);
    let mut connections: Vec<Connection> = Vec::new();
    for _ in 0..count {
        let next = connection(&mut random, connections.last(), proto);
        connections.push(next);
    }
    let mut steps = Vec::new();
    let mut short = 0;
    for number in 0..=random.below(STEPS) {
        if random.percent(7) {
            steps.push(pause(&mut random, &mut short));
            continue;
        }
        let chosen = random.below(connections.len());
        let connection = &mut connections[chosen];
        let (mut packet, of) = match connection.last {
            Some(last) if random.percent(42) => (answer(&mut random, connection), last),
            _ => {
                connection.last = Some(number);
                (request(&mut random, connection), number)
            }
        };
        vary(&mut random, &mut packet, family);
        let on_node = matches!(packet.at, At::Ingress(_) | At::Egress(_));
        if on_node && random.percent(8) {
            spoil(&mut random, &mut packet, family);
        }
        let by_xdp = matches!(packet.at, At::Ingress(Device::Eth0 | Device::Eth1));
        let hook = match random.below(10) {
            0..3 if by_xdp => Hook::Xdp,
            3..5 if summed => Hook::TcSummed,
            _ => Hook::Tc,
        };
        let packet = Box::new(packet);
        steps.push(Step::Packet { packet, hook, of });
    }
    Sequence {
        seed,
        family,
        steps,
    }
}

fn pause(random: &mut Random, short: &mut usize) -> Step {
    const UNIT: u64 = 1 << 32;
    if *short < SHORT_PAUSES && random.percent(40) {
        *short += 1;
        return Step::Elapse(random.of(&[200_000_000, 3_000_000_000]));
    }
    Step::Elapse(UNIT * random.of(&[2, 5, 13, 16, 25, 40, 60, 1000, 21_000]))
}

/// Often a relative of the one before: the same client, port or backend.
fn connection(random: &mut Random, before: Option<&Connection>, proto: u8) -> Connection {
    let svc: Svc = random.of(&SERVICES);
    let proto = if random.percent(85) {
        proto
    } else {
        random.of(&[6, 17, 132])
    };
    let over_lb0 = random.percent(15);
    let mut client = if over_lb0 {
        // Ports that no one has on node devices: one tuple is not seen on both.
        random.of(&[POD.port(42_001), Peer::new(NODE, 42_002)])
    } else {
        client(random)
    };
    if let Some(before) = before
        && !over_lb0
        && !matches!(before.at, At::Lb0)
        && random.percent(60)
    {
        client = before.client;
    }
    let to = destination(random, svc, over_lb0);
    let way = match to {
        Peer { addr, .. } if addr == HERE.addr => None,
        Peer { addr, .. } if addr == FAR.addr => Some(Device::Eth1),
        _ => way(svc),
    };
    let back = match way {
        Some(device) => At::Ingress(device),
        None if over_lb0 => At::Lb0Back,
        None => At::Egress(random.of(&[Device::Eth0, Device::Eth0, Device::Eth1])),
    };
    let at = if over_lb0 {
        At::Lb0
    } else if client.addr == PODNET_CLIENT.addr {
        At::Ingress(Device::Br0)
    } else if (client.addr == NODE || client.addr == POD.addr) && random.percent(70) {
        At::Egress(Device::Eth1)
    } else if random.percent(90) {
        At::Ingress(Device::Eth0)
    } else {
        At::Ingress(random.of(&[Device::Eth1, Device::Eth2, Device::Br0]))
    };
    Connection {
        client,
        to,
        at,
        back,
        proto,
        last: None,
    }
}

fn client(random: &mut Random) -> Peer {
    let port = random.of(&[41_001, 41_001, 41_002, 30_001, 61_000]);
    if random.percent(6) {
        let odd = [
            Peer::new(S_HERE.vip().addr, 0),
            Peer::new(NOWHERE.addr, 0),
            Peer::new(NODE, 0),
            Peer::new(NODE_ETH2, 0),
        ];
        return random.of(&odd).port(port);
    }
    let some = [
        CLIENT,
        CLIENT,
        CLIENT,
        FAR_CLIENT,
        FAR_CLIENT,
        POD,
        FOREIGN_POD,
        PODNET_CLIENT,
        Peer::new(NODE, 0),
    ];
    random.of(&some).port(port)
}

fn destination(random: &mut Random, svc: Svc, over_lb0: bool) -> Peer {
    if over_lb0 {
        let some = [
            svc.vip(),
            svc.vip(),
            svc.lb(),
            svc.external(),
            svc.node_port(),
        ];
        return match random.below(12) {
            0 => UNALLOCATED,
            1 => svc.vip().port(81),
            2 => svc.lb().port(81),
            _ => random.of(&some),
        };
    }
    let backends = [
        HERE,
        HERE,
        FAR,
        FAR,
        TURN,
        NAMELESS,
        PODNET_HERE,
        MISPLACED,
        SLOW,
    ];
    match random.below(20) {
        0..8 => svc.node_port(),
        8..11 => svc.lb(),
        11..13 => svc.vip(),
        13 => svc.external(),
        14 => random.of(&[
            svc.vip().port(81),
            svc.lb().port(81),
            ELSEWHERE,
            UNALLOCATED,
        ]),
        15 => {
            let own = random.of(&[NODE, NODE_ETH1]);
            Peer::new(own, random.of(&[61_000, 61_001, 22, 41_001]))
        }
        _ => Peer::new(random.of(&backends).addr, BACKEND_PORT),
    }
}

/// By which device answers of a Service's backend come in; `None` of one on this node.
fn way(svc: Svc) -> Option<Device> {
    match svc.0 {
        2 | 7 | 16 | 19 => None,
        3 | 5 => Some(Device::Eth0),
        4 => Some(Device::Eth2),
        9 | 20 => Some(Device::Br0),
        _ => Some(Device::Eth1),
    }
}

fn request(random: &mut Random, of: &Connection) -> Packet {
    let packet = body(random, of.proto, of.last.is_none());
    packet.from(of.client).to(of.to).at(of.at)
}

fn answer(random: &mut Random, of: &Connection) -> Packet {
    let mut packet = body(random, of.proto, false);
    if of.proto == 6 && random.percent(40) {
        packet = tcp(SYN | ACK).payload(0);
    }
    if of.proto == 132 && random.percent(30) {
        packet = sctp(chunk::INIT_ACK);
    }
    packet = packet.answer(None);
    let at = if random.percent(94) {
        of.back
    } else {
        random.of(&[
            At::Ingress(Device::Eth0),
            At::Egress(Device::Eth0),
            At::Ingress(Device::Eth1),
        ])
    };
    packet.at(at)
}

fn body(random: &mut Random, proto: u8, first: bool) -> Packet {
    let opens = first && random.percent(80);
    match proto {
        17 => udp(),
        132 if opens => sctp(chunk::INIT),
        132 => sctp(random.of(&[
            chunk::INIT,
            chunk::COOKIE_ECHO,
            chunk::DATA,
            chunk::DATA,
            chunk::SACK,
            chunk::HEARTBEAT,
            chunk::ABORT,
            chunk::SHUTDOWN,
            chunk::SHUTDOWN_ACK,
            chunk::SHUTDOWN_COMPLETE,
        ])),
        _ if opens => syn(),
        _ => match random.below(16) {
            0 | 1 => syn(),
            2..7 => tcp(ACK).payload(0),
            7..10 => tcp(PSH | ACK),
            10..12 => tcp(FIN | ACK),
            12 => tcp(RST).payload(0),
            13 => tcp(RST | ACK).payload(0),
            14 => tcp(SYN | ACK).payload(0),
            _ => tcp(random.byte()),
        },
    }
}

/// All that a sound packet may have.
fn vary(random: &mut Random, packet: &mut Packet, family: Family) {
    let is_tcp = matches!(packet.body, Body::Tcp { .. });
    if random.percent(12) {
        packet.payload = random.of(&[0, 1, 100, 1300, 1372, 1400, 1440, 1460]);
    }
    if packet.at == At::Ingress(Device::Eth1) && random.percent(4) {
        packet.payload = random.of(&[1600, 3000]);
    }
    // What is shorter than a chunk's tag would not be one.
    if matches!(packet.body, Body::Sctp { .. }) {
        packet.payload = packet.payload.max(4);
    }
    if random.percent(30) {
        packet.dont_fragment = false;
    }
    if random.percent(4) {
        packet.ttl = random.of(&[0, 1, 2]);
    }
    packet.tos = if random.percent(10) { random.byte() } else { 0 };
    if random.percent(4) {
        packet.padding = 1 + random.below(30);
    }
    if random.percent(6) {
        packet.sum = random.of(&[Sum::Zero, Sum::Wrong]);
    }
    if family == Family::V4 && random.percent(4) {
        packet.options = 4 * (1 + random.below(10));
    }
    if family == Family::V6 && random.percent(6) {
        // One of a kind, in their order, for whoever reads them again.
        let some = [
            Extension::HopByHop,
            Extension::Destination,
            Extension::Routing,
            Extension::Atomic,
        ];
        packet.extensions = some.into_iter().filter(|_| random.percent(50)).collect();
    }
    if is_tcp && random.percent(10) {
        *packet = packet.clone().tcp_options(4 * (1 + random.below(10)));
    }
    if random.percent(6) {
        fragment(random, packet);
    } else if packet.payload >= 4 && random.percent(8) {
        // Acknowledges, or opens with, something else; of SCTP another tag.
        let (at, bytes) = match packet.body {
            Body::Tcp { .. } => (8, [random.byte(), 0x0b, random.byte(), 0x0d]),
            Body::Sctp { .. } => (4, [b'z', b'g', b'z', random.byte()]),
            _ => return,
        };
        if packet.extensions.is_empty() {
            *packet = packet.clone().edit(Layer::Transport, at, &bytes);
        }
    }
}

/// One of the fragments of a packet; all have one identification.
fn fragment(random: &mut Random, packet: &mut Packet) {
    packet.extensions.retain(|one| *one != Extension::Atomic);
    packet.payload = random.of(&[64, 80, 1376]);
    let place = random.of(&[(0, true), (0, true), (72, false), (72, true), (1480, false)]);
    *packet = packet.clone().fragment(place.0, place.1);
}

/// Headers that lie, frames that end too early, other protocols.
fn spoil(random: &mut Random, packet: &mut Packet, family: Family) {
    let v4 = family == Family::V4;
    let shortest = 14 + if v4 { 28 } else { 48 };
    let whole = packet.clone();
    *packet = match random.below(12) {
        0 => whole.cut(1 + random.below(40)),
        1 if v4 => whole.edit(Layer::Ip, 0, &[random.byte()]),
        1 => whole.edit(Layer::Ip, 6, &[random.of(&[0, 43, 44, 58, 59, 60, 50])]),
        2 if v4 => whole.edit(Layer::Ip, 2, &[random.of(&[0, 0, 1, 3]), random.byte()]),
        2 => whole.edit(Layer::Ip, 4, &[random.of(&[0, 0, 1, 3]), random.byte()]),
        3 if matches!(whole.body, Body::Tcp { .. })
            && !matches!(whole.fragment, Some((1.., _))) =>
        {
            whole.edit(Layer::Transport, 12, &[random.byte()])
        }
        3 if whole.body == Body::Udp && !matches!(whole.fragment, Some((1.., _))) => {
            let length = [random.of(&[0, 0, 1]), random.byte()];
            whole.edit(Layer::Transport, 4, &length)
        }
        4 if v4 => whole.edit(Layer::Ip, 6, &[random.byte() & 0x3f]),
        5 if v4 => whole.edit(Layer::Ip, 9, &[random.of(&[1, 2, 47, 50, 17, 6, 132])]),
        6 => whole.vlan(random.of(&[0, 5])),
        7 => whole.mac(random.of(&[[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [2, 9, 9, 9, 9, 9]])),
        8 => {
            let (from, at) = (whole.ends, whole.at);
            let mut strange = random.of(&[other(47), other(50), ping()]);
            (strange.ends, strange.at) = (from, at);
            strange
        }
        9 => {
            let bytes: Vec<u8> = (0..3).map(|_| random.byte()).collect();
            let at = 14 + random.below(shortest - 14 - 3);
            whole.edit(Layer::Link, at, &bytes)
        }
        10 => {
            let at = 14 + random.below(shortest - 14);
            whole.edit(Layer::Link, at, &[random.byte()])
        }
        _ => whole.cut(random.below(24)),
    };
}
