//! Sockets of the calling thread's network namespace that wait for connections or datagrams, by
//! sock_diag(7).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use lb_common::Proto;
use rtnetlink::{
    packet_core::{DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable},
    sys::protocols::NETLINK_SOCK_DIAG,
};

use crate::netlink;

/// Message type of linux/sock_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// AF_INET and AF_INET6.
const FAMILIES: [u8; 2] = [2, 10];
/// `1 << TCP_LISTEN`
const LISTENING: u32 = 1 << 10;
/// `1 << TCP_CLOSE`: a UDP socket that is bound and not connected.
const UNCONNECTED: u32 = 1 << 7;
/// Bytes of `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// Bytes of `struct inet_diag_msg` up to the end of the local address: family, state and two more
/// bytes, two ports, the address.
const FOUND: usize = 24;

/// A socket that waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Listener {
    /// TCP or UDP.
    pub proto: Proto,
    /// As it is bound; `::` stands for IPv4 too unless the socket says otherwise.
    pub addr: IpAddr,
    /// Host byte order.
    pub port: u16,
}

/// Every TCP socket that listens and every UDP socket without a peer, both families.
pub fn all() -> io::Result<Vec<Listener>> {
    let mut all = Vec::new();
    for (proto, states) in [(Proto::Tcp, LISTENING), (Proto::Udp, UNCONNECTED)] {
        for family in FAMILIES {
            let request = Request::new(family, proto, states);
            let found: Vec<Answer> = netlink::dump(NETLINK_SOCK_DIAG, request)?;
            all.extend(found.into_iter().map(|Answer { addr, port }| Listener {
                proto,
                addr,
                port,
            }));
        }
    }
    Ok(all)
}

/// `struct inet_diag_req_v2`.
struct Request([u8; REQUEST]);

impl Request {
    fn new(family: u8, proto: Proto, states: u32) -> Self {
        let mut bytes = [0; REQUEST];
        bytes[0] = family;
        bytes[1] = proto.number();
        bytes[4..8].copy_from_slice(&states.to_ne_bytes());
        Self(bytes)
    }
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        SOCK_DIAG_BY_FAMILY
    }

    fn buffer_len(&self) -> usize {
        REQUEST
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

/// The local end in `struct inet_diag_msg`.
struct Answer {
    addr: IpAddr,
    port: u16,
}

impl NetlinkDeserializable for Answer {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let short = || DecodeError::from("a message of sock_diag is too short");
        let head: &[u8; FOUND] = payload.first_chunk().ok_or_else(short)?;
        let addr: &[u8; 16] = head.last_chunk().ok_or_else(short)?;
        let [a, b, c, d, ..] = *addr;
        Ok(Self {
            addr: if head[0] == FAMILIES[0] {
                Ipv4Addr::new(a, b, c, d).into()
            } else {
                Ipv6Addr::from(*addr).to_canonical()
            },
            port: u16::from_be_bytes([head[4], head[5]]),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn sockets_that_wait_are_found_and_connected_ones_are_not() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let tcp = TcpListener::bind(at).unwrap();
            let udp = UdpSocket::bind(at).unwrap();
            let client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
            let peer = UdpSocket::bind(at).unwrap();
            peer.connect(udp.local_addr().unwrap()).unwrap();
            let all = all().unwrap();
            let has = |proto, addr: std::net::SocketAddr| {
                all.contains(&Listener {
                    proto,
                    addr: addr.ip(),
                    port: addr.port(),
                })
            };
            assert!(has(Proto::Tcp, tcp.local_addr().unwrap()), "{at}");
            assert!(has(Proto::Udp, udp.local_addr().unwrap()), "{at}");
            assert!(!has(Proto::Tcp, client.local_addr().unwrap()), "{at}");
            assert!(!has(Proto::Udp, peer.local_addr().unwrap()), "{at}");
        }
    }
}
