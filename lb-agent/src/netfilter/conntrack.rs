//! Connections that netfilter tracks and whose addresses it translates: listed, and removed one by
//! one.

use std::{
    io::Result,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
};

use lb_common::{Addr, Proto, flow};

use super::{
    Socket,
    attributes::{Attributes, find, number, port, walk},
    message::Message,
    subsystem::CONNTRACK,
};

const GET: u8 = 1;
const DELETE: u8 = 2;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOCOL: u16 = 4;
const ID: u16 = 12;
const ZONE: u16 = 18;
const STATUS_MASK: u16 = 26;

/// `IPS_DST_NAT`
const DESTINATION_TRANSLATED: u32 = 1 << 5;

/// The state of a TCP connection, inside of [`PROTOCOL`].
const TCP_STATE: [u16; 2] = [1, 1];
/// `TCP_CONNTRACK_TIME_WAIT` and `TCP_CONNTRACK_CLOSE`.
const TCP_OVER: [u8; 2] = [7, 8];

/// The packets of one direction, as they arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuple {
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// Source port, host byte order.
    pub sport: u16,
    /// Destination port, host byte order.
    pub dport: u16,
}

/// A connection whose destination is translated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connection {
    /// IANA protocol number.
    pub proto: u8,
    /// Client to frontend.
    pub original: Tuple,
    /// Backend to client, or to the node where it hides the client.
    pub reply: Tuple,
    family: u8,
    /// The attributes that name it, as the kernel wrote them.
    name: Vec<(u16, Vec<u8>)>,
}

/// Every connection with a translated destination.
pub fn translated(socket: &mut Socket) -> Result<Vec<Connection>> {
    // The kernel filters by status from Linux 5.16 on.
    let filter = Attributes::default()
        .number(STATUS, DESTINATION_TRANSLATED)
        .number(STATUS_MASK, DESTINATION_TRANSLATED);
    let all = socket.list(&Message::new(CONNTRACK, GET, 0, &filter))?;
    Ok(all.iter().filter_map(connection).collect())
}

/// Hands on every connection whose destination is not translated and that is not over: its protocol
/// (IANA) and the tuple of what answers it.
pub fn direct(socket: &mut Socket, mut take: impl FnMut(u8, Tuple)) -> Result<()> {
    let all = Message::new(CONNTRACK, GET, 0, &Attributes::default());
    socket.scan(&all, |message| {
        if let Some((proto, reply)) = direct_one(&message.attributes) {
            take(proto, reply);
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}

fn direct_one(a: &[u8]) -> Option<(u8, Tuple)> {
    if find(a, STATUS).and_then(number)? & DESTINATION_TRANSLATED != 0 {
        return None;
    }
    let state = find(a, PROTOCOL).and_then(|p| walk(p, &TCP_STATE)?.first());
    if state.is_some_and(|state| TCP_OVER.contains(state)) {
        return None;
    }
    let reply = find(a, REPLY)?;
    let proto = *walk(reply, &[2, 1])?.first()?;
    Some((proto, tuple(reply)?))
}

/// Whether there is a connection with a translated destination that its ends open and close.
pub fn any_lasting(socket: &mut Socket) -> Result<bool> {
    Ok(translated(socket)?.iter().any(Connection::lasts))
}

impl Connection {
    /// Whether its ends open and close it, so that it breaks when it is sent elsewhere: TCP and
    /// SCTP.
    #[must_use]
    pub fn lasts(&self) -> bool {
        Proto::from_number(self.proto).is_some() && flow::connects(self.proto)
    }
}

/// Removes one; false if it was already gone.
pub fn remove(socket: &mut Socket, connection: &Connection) -> Result<bool> {
    let name =
        connection
            .name
            .iter()
            .fold(Attributes::default(), |all, (kind, value)| match *kind {
                ORIGINAL => all.with(ORIGINAL | netlink_packet_core::NLA_F_NESTED, value),
                kind => all.with(kind, value),
            });
    match socket.request(&Message::new(CONNTRACK, DELETE, connection.family, &name)) {
        Err(e) if e.raw_os_error() == Some(nix::libc::ENOENT) => Ok(false),
        other => other.map(|()| true),
    }
}

fn connection(message: &Message) -> Option<Connection> {
    let a = &message.attributes;
    if find(a, STATUS).and_then(number)? & DESTINATION_TRANSLATED == 0 {
        return None;
    }
    let original = find(a, ORIGINAL)?;
    let proto = *walk(original, &[2, 1])?.first()?;
    let name = [ORIGINAL, ID, ZONE]
        .into_iter()
        .filter_map(|kind| Some((kind, find(a, kind)?.to_vec())))
        .collect();
    Some(Connection {
        proto,
        original: tuple(original)?,
        reply: tuple(find(a, REPLY)?)?,
        family: message.family,
        name,
    })
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let (ip, ports) = (find(bytes, 1)?, find(bytes, 2)?);
    let address = |v4, v6| {
        let found = find(ip, v4).or_else(|| find(ip, v6))?;
        let address: IpAddr = match found.len() {
            4 => Ipv4Addr::from(<[u8; 4]>::try_from(found).ok()?).into(),
            _ => Ipv6Addr::from(<[u8; 16]>::try_from(found).ok()?).into(),
        };
        Some(Addr::from(address))
    };
    Some(Tuple {
        src: address(1, 3)?,
        dst: address(2, 4)?,
        sport: find(ports, 2).and_then(port)?,
        dport: find(ports, 3).and_then(port)?,
    })
}

impl std::fmt::Display for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = |addr: Addr, port| std::net::SocketAddr::new(addr.into(), port);
        let Self {
            original, reply, ..
        } = self;
        let (client, frontend) = (
            end(original.src, original.sport),
            end(original.dst, original.dport),
        );
        write!(
            f,
            "{client} to {frontend} at {}",
            end(reply.src, reply.sport)
        )
    }
}
