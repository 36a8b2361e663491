//! Packets as rows describe them: family and ends stay open until the row runs.

mod answer;
mod build;
mod crc;
mod icmp;
mod read;
mod rewrite;
mod sums;

pub(crate) use answer::{Answer, answered};
pub(crate) use build::frame;
pub(crate) use icmp::{Error, Quote, icmp_sum};
pub(crate) use read::{Tuple, net_offset, show, transport, tuple};
pub(crate) use rewrite::{Change, rewrite};
pub(crate) use sums::problems;
use testbed::probe::Family;

use crate::packet_table::plan::{CLIENT, Device, Peer, S_FAR, Way};

/// TCP's flags.
pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;
pub(crate) const URG: u8 = 32;

/// Types of SCTP's chunks.
pub(crate) mod chunk {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const INIT: u8 = 1;
    pub(crate) const INIT_ACK: u8 = 2;
    pub(crate) const SACK: u8 = 3;
    pub(crate) const HEARTBEAT: u8 = 4;
    pub(crate) const ABORT: u8 = 6;
    pub(crate) const SHUTDOWN: u8 = 7;
    pub(crate) const SHUTDOWN_ACK: u8 = 8;
    pub(crate) const COOKIE_ECHO: u8 = 10;
    pub(crate) const SHUTDOWN_COMPLETE: u8 = 14;
}

/// The hook of the node that a packet passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum At {
    /// It comes in on a node device: tc and XDP.
    Ingress(Device),
    /// It comes in on a node device without a link header.
    Tunnel,
    /// It leaves by a node device.
    Egress(Device),
    /// A client of this node sends it to a Service address.
    Lb0,
    /// A backend of this node answers such a client.
    Lb0Back,
}

/// Whose packet it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ends {
    /// From here to there.
    Given(Peer, Peer),
    /// From the client of the row's first packet to where that one went.
    Client,
    /// From the backend of the row's first packet to whom that one seemed to come from.
    Backend,
}

/// A checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sum {
    Right,
    /// 0: none in UDP, still to be made in SCTP.
    Zero,
    Wrong,
}

/// What the packet carries.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Body {
    Tcp {
        flags: u8,
        options: usize,
    },
    Udp,
    Sctp {
        chunk: u8,
    },
    /// An echo request or reply.
    Echo {
        reply: bool,
    },
    Error(Error, Quote),
    /// Another protocol, by its number.
    Other(u8),
}

/// Which header an edit counts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layer {
    Link,
    Ip,
    Transport,
}

/// An extension header of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extension {
    HopByHop,
    Routing,
    Destination,
    /// A fragment header of a whole packet (RFC 6946).
    Atomic,
}

/// A packet.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Packet {
    pub(crate) ends: Ends,
    pub(crate) at: At,
    pub(crate) body: Body,
    pub(crate) ttl: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) tos: u8,
    /// Bytes of IPv4 options.
    pub(crate) options: usize,
    pub(crate) extensions: Vec<Extension>,
    /// Offset in bytes, and whether more follow.
    pub(crate) fragment: Option<(u16, bool)>,
    pub(crate) payload: usize,
    pub(crate) sum: Sum,
    /// VLAN ids, the outer one first.
    pub(crate) vlans: Vec<u16>,
    /// To a broadcast or to another host's hardware address instead of the device's own.
    pub(crate) mac: Option<[u8; 6]>,
    /// Bytes that are written over the finished packet.
    pub(crate) edits: Vec<(Layer, usize, Vec<u8>)>,
    /// Bytes of the frame that are cut off its end.
    pub(crate) cut: usize,
    /// Bytes behind the packet's own end.
    pub(crate) padding: usize,
    /// The socket buffer is to be cut into segments of so many bytes.
    pub(crate) segment: u32,
}

fn packet(body: Body, payload: usize) -> Packet {
    Packet {
        ends: Ends::Given(CLIENT, S_FAR.node_port()),
        at: At::Ingress(Device::Eth0),
        body,
        ttl: 64,
        dont_fragment: true,
        tos: 0,
        options: 0,
        extensions: vec![],
        fragment: None,
        payload,
        sum: Sum::Right,
        vlans: vec![],
        mac: None,
        edits: vec![],
        cut: 0,
        padding: 0,
        segment: 0,
    }
}

/// A SYN without options.
pub(crate) fn syn() -> Packet {
    packet(
        Body::Tcp {
            flags: SYN,
            options: 0,
        },
        0,
    )
}

/// A segment with these flags and some data.
pub(crate) fn tcp(flags: u8) -> Packet {
    packet(Body::Tcp { flags, options: 0 }, 11)
}

/// A datagram of an odd length.
pub(crate) fn udp() -> Packet {
    packet(Body::Udp, 33)
}

/// A packet whose first chunk is of this type.
pub(crate) fn sctp(chunk: u8) -> Packet {
    packet(Body::Sctp { chunk }, 20)
}

/// An echo request.
pub(crate) fn ping() -> Packet {
    packet(Body::Echo { reply: false }, 56)
}

/// An ICMP error about a packet of the row.
pub(crate) fn error(error: Error, quote: Quote) -> Packet {
    packet(Body::Error(error, quote), 0)
}

/// A packet of another protocol.
pub(crate) fn other(protocol: u8) -> Packet {
    packet(Body::Other(protocol), 24)
}

impl Packet {
    pub(crate) fn from(mut self, from: Peer) -> Self {
        let to = match self.ends {
            Ends::Given(_, to) => to,
            Ends::Client | Ends::Backend => S_FAR.node_port(),
        };
        self.ends = Ends::Given(from, to);
        self
    }

    pub(crate) fn to(mut self, to: Peer) -> Self {
        let from = match self.ends {
            Ends::Given(from, _) => from,
            Ends::Client | Ends::Backend => CLIENT,
        };
        self.ends = Ends::Given(from, to);
        self
    }

    /// Of the connection that the row's first packet opened.
    pub(crate) fn again(mut self) -> Self {
        self.ends = Ends::Client;
        self
    }

    /// The backend's answer, in by the device of its way.
    pub(crate) fn answer(mut self, way: Option<Way>) -> Self {
        self.ends = Ends::Backend;
        if let Some(way) = way {
            self.at = At::Ingress(way.device);
        } else {
            self.at = At::Egress(Device::Eth0);
        }
        self
    }

    pub(crate) fn at(mut self, at: At) -> Self {
        self.at = at;
        self
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Routers may cut it.
    pub(crate) fn may_fragment(mut self) -> Self {
        self.dont_fragment = false;
        self
    }

    pub(crate) fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    pub(crate) fn options(mut self, bytes: usize) -> Self {
        self.options = bytes;
        self
    }

    pub(crate) fn tcp_options(mut self, bytes: usize) -> Self {
        if let Body::Tcp { options, .. } = &mut self.body {
            *options = bytes;
        }
        self
    }

    pub(crate) fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    pub(crate) fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = Some((offset, more));
        self.dont_fragment = false;
        self
    }

    pub(crate) fn payload(mut self, bytes: usize) -> Self {
        self.payload = bytes;
        self
    }

    pub(crate) fn sum(mut self, sum: Sum) -> Self {
        self.sum = sum;
        self
    }

    pub(crate) fn vlan(mut self, id: u16) -> Self {
        self.vlans.push(id);
        self
    }

    pub(crate) fn mac(mut self, mac: [u8; 6]) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Writes over the finished packet; the IPv4 header's sum is made again afterwards.
    pub(crate) fn edit(mut self, layer: Layer, offset: usize, bytes: &[u8]) -> Self {
        self.edits.push((layer, offset, bytes.to_vec()));
        self
    }

    /// Takes bytes off the end of the frame; its headers know nothing of it.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.cut = bytes;
        self
    }

    /// Puts bytes behind the packet's own end, as Ethernet does with short ones.
    pub(crate) fn padded(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// Several segments in one socket buffer; tc alone.
    pub(crate) fn segments(mut self, bytes: u32) -> Self {
        self.segment = bytes;
        self
    }

    /// IANA's number of what it carries.
    pub(crate) fn protocol(&self, family: Family) -> u8 {
        match (&self.body, family) {
            (Body::Tcp { .. }, _) => 6,
            (Body::Udp, _) => 17,
            (Body::Sctp { .. }, _) => 132,
            (Body::Other(number), _) => *number,
            (Body::Echo { .. } | Body::Error(..), Family::V4) => 1,
            (Body::Echo { .. } | Body::Error(..), Family::V6) => 58,
        }
    }
}

/// The packets of a row so far: in and out, from the network header on.
#[derive(Default)]
pub(crate) struct History {
    /// Where the first one came in.
    pub(crate) at: Option<At>,
    pub(crate) packets: Vec<(Vec<u8>, Vec<u8>)>,
}

impl History {
    /// The tuple of the row's first packet as the client sent it.
    pub(crate) fn sent(&self) -> Option<Tuple> {
        self.packets.first().and_then(|(sent, _)| tuple(sent))
    }

    /// The same as the backend got it.
    pub(crate) fn received(&self) -> Option<Tuple> {
        self.packets
            .first()
            .and_then(|(_, received)| tuple(received))
    }
}

/// The addresses and ports of a packet in a row.
pub(crate) fn ends(packet: &Packet, family: Family, history: &History) -> Option<Tuple> {
    // An error goes to the sender of the packet that it quotes.
    if let (Body::Error(_, quote), Ends::Given(from, _)) = (&packet.body, packet.ends) {
        let quoted = tuple(quote.index(history)?.1)?;
        return Some(Tuple {
            src: from.ip(family),
            dst: quoted.src,
            sport: 0,
            dport: 0,
        });
    }
    match packet.ends {
        Ends::Given(from, to) => Some(Tuple {
            src: from.ip(family),
            dst: to.ip(family),
            sport: from.port,
            dport: to.port,
        }),
        Ends::Client => history.sent(),
        Ends::Backend => history.received().map(Tuple::turned),
    }
}
