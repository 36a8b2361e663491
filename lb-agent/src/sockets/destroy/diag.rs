//! Two requests of sock_diag(7) in the calling thread's network namespace: which sockets of a
//! protocol are connected, and the end of one. Owns the layout of `inet_diag_req_v2` and `inet_diag_msg`
//! (linux/inet_diag.h).

use std::io;

use lb_common::{Addr, Proto};
use nix::{
    errno::Errno,
    sys::{
        socket::{setsockopt, sockopt},
        time::TimeVal,
    },
};
use rtnetlink::{
    packet_core::{
        DecodeError, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
        NetlinkMessage, NetlinkPayload, NetlinkSerializable,
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG},
};

/// The kernel answers at once; to wait for ever would be a fault of ours.
const PATIENCE_SECS: i64 = 10;
/// Message types of linux/sock_diag.h. `SOCK_DESTROY`: Linux 4.5 for TCP, 4.9 for UDP.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
/// `1 << TCP_ESTABLISHED`: a UDP socket that is connected.
const CONNECTED: u32 = 1 << 1;
/// Beside it `TCP_SYN_SENT`, `TCP_FIN_WAIT1`, `TCP_FIN_WAIT2` and `TCP_CLOSE_WAIT`: a TCP socket that
/// its owner may still wait for.
const OPEN: u32 = CONNECTED | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8;
/// AF_INET and AF_INET6.
const FAMILIES: [u8; 2] = [2, 10];

/// Bytes of `struct inet_diag_sockid`.
const ID: usize = 48;
/// Bytes of `struct inet_diag_req_v2`.
const REQUEST: usize = 8 + ID;
/// Bytes of `struct inet_diag_msg` up to the end of its id.
const FOUND: usize = 4 + ID;
/// Netlink messages begin at multiples of this.
const ALIGN: usize = 4;

/// A connected socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Connected {
    /// As `bpf_get_socket_cookie` returns it.
    pub(super) cookie: u64,
    /// IPv4 also of an IPv6 socket that talks to a mapped address.
    pub(super) peer: Addr,
    /// Host byte order.
    pub(super) peer_port: u16,
    family: u8,
    /// As the kernel wrote it: it finds the socket by it.
    id: [u8; ID],
}

/// What became of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// It is no longer connected; its owner gets ECONNABORTED.
    Destroyed,
    /// It was closed, or connected to something else.
    Gone,
}

/// A netlink socket of one network namespace.
pub(super) struct Diag {
    socket: Socket,
    proto: Proto,
    sequence: u32,
}

impl Diag {
    /// For sockets of this protocol in the calling thread's namespace.
    pub(super) fn open(proto: Proto) -> io::Result<Self> {
        let socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        setsockopt(
            &socket,
            sockopt::ReceiveTimeout,
            &TimeVal::new(PATIENCE_SECS, 0),
        )?;
        Ok(Self {
            socket,
            proto,
            sequence: 0,
        })
    }

    /// Whether sockets can be listed and destroyed: tried with a socket that does not exist.
    pub(super) fn supported(&mut self) -> io::Result<()> {
        self.connected()?;
        let missing = Connected {
            cookie: 0,
            peer: Addr::ZERO,
            peer_port: 0,
            family: FAMILIES[0],
            id: [0; ID],
        };
        self.destroy(&missing).map(drop)
    }

    /// Those of this namespace, both families.
    pub(super) fn connected(&mut self) -> io::Result<Vec<Connected>> {
        let mut all = Vec::new();
        for family in FAMILIES {
            let request = Request::new(SOCK_DIAG_BY_FAMILY, self.proto, family, &[0; ID]);
            self.send(request, NLM_F_DUMP)?;
            self.read(|found| all.push(found))?;
        }
        Ok(all)
    }

    /// Ends the connection of a socket. The kernel finds it by its addresses, and by its cookie
    /// knows another socket that has taken its place, which stays.
    pub(super) fn destroy(&mut self, sock: &Connected) -> io::Result<End> {
        let request = Request::new(SOCK_DESTROY, self.proto, sock.family, &sock.id);
        self.send(request, NLM_F_ACK)?;
        match self.read(drop) {
            Ok(()) => Ok(End::Destroyed),
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(End::Gone),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self, request: Request, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Reads until the kernel reports the end, or an error.
    fn read(&mut self, mut found: impl FnMut(Connected)) -> io::Result<()> {
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let message: NetlinkMessage<Answer> =
                    NetlinkMessage::deserialize(rest).map_err(io::Error::other)?;
                let code = match message.payload {
                    NetlinkPayload::InnerMessage(Answer(sock)) => {
                        found(sock);
                        None
                    }
                    NetlinkPayload::Done(done) => Some(done.code),
                    NetlinkPayload::Error(error) => Some(error.raw_code()),
                    _ => None,
                };
                match code {
                    Some(0) => return Ok(()),
                    Some(code) => return Err(io::Error::from_raw_os_error(-code)),
                    None => {}
                }
                let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
                let next = length.max(1).next_multiple_of(ALIGN);
                rest = rest.get(next..).unwrap_or_default();
            }
        }
    }
}

/// `struct inet_diag_req_v2`.
struct Request {
    kind: u16,
    bytes: [u8; REQUEST],
}

impl Request {
    fn new(kind: u16, proto: Proto, family: u8, id: &[u8; ID]) -> Self {
        let states = if proto == Proto::Tcp { OPEN } else { CONNECTED };
        let mut bytes = [0; REQUEST];
        bytes[0] = family;
        bytes[1] = proto.number();
        bytes[4..8].copy_from_slice(&states.to_ne_bytes());
        bytes[8..].copy_from_slice(id);
        Self { kind, bytes }
    }
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.bytes);
    }
}

/// `struct inet_diag_msg`.
struct Answer(Connected);

impl NetlinkDeserializable for Answer {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let short = || DecodeError::from("a message of sock_diag is too short");
        let head: &[u8; FOUND] = payload.first_chunk().ok_or_else(short)?;
        let id: &[u8; ID] = head.last_chunk().ok_or_else(short)?;
        let family = head[0];
        // Ports (two times two bytes, network order), source and destination (16 each), device (4),
        // cookie (8).
        let field = |at: usize| -> [u8; 4] { [id[at], id[at + 1], id[at + 2], id[at + 3]] };
        let mut wide = [0; 16];
        wide.copy_from_slice(&id[20..36]);
        let peer = if family == FAMILIES[0] {
            Addr::v4(field(20))
        } else {
            Addr::v6(wide)
        };
        let (low, high) = (field(40), field(44));
        Ok(Self(Connected {
            cookie: u64::from(u32::from_ne_bytes(low)) | u64::from(u32::from_ne_bytes(high)) << 32,
            peer,
            peer_port: u16::from_be_bytes([id[2], id[3]]),
            family,
            id: *id,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use nix::sys::socket::getsockopt;

    use super::*;

    /// Connected to each other, by the address of one family.
    fn pair(at: &str) -> (UdpSocket, UdpSocket) {
        let (a, b) = (UdpSocket::bind(at).unwrap(), UdpSocket::bind(at).unwrap());
        a.connect(b.local_addr().unwrap()).unwrap();
        (a, b)
    }

    #[test]
    fn an_answer_that_does_not_come_is_not_waited_for_for_ever() {
        let diag = Diag::open(Proto::Udp).unwrap();
        let timeout = getsockopt(&diag.socket, sockopt::ReceiveTimeout).unwrap();
        assert_eq!(timeout.tv_sec(), PATIENCE_SECS);
    }

    #[test]
    fn a_connected_socket_is_found_by_its_peer_and_one_that_waits_is_not() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let (a, b) = pair(at);
            let found = Diag::open(Proto::Udp).unwrap().connected().unwrap();
            let to = |socket: &UdpSocket| {
                let addr = socket.local_addr().unwrap();
                let is_peer =
                    |s: &&Connected| s.peer == addr.ip().into() && s.peer_port == addr.port();
                found.iter().filter(is_peer).count()
            };
            assert_eq!((to(&b), to(&a)), (1, 0), "{at}");
            assert!(found.iter().all(|s| s.cookie != 0));
        }
    }
}
