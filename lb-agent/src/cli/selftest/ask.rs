//! One question of a client, by real sockets in the network namespace and cgroup of this process.

use std::{
    io::{self, ErrorKind, Read as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::{
    addresses,
    question::{Answer, Protocol, Question},
};

/// What a client sends; a server does not read it.
const GREETING: &[u8] = b"who are you?";
/// More than any answer.
const LONGEST: usize = 256;
/// Echo request and reply, of ICMP and of ICMPv6.
const ECHO: [(u8, u8); 2] = [(8, 0), (128, 129)];

/// Asks.
pub(super) fn ask(question: &Question) -> Answer {
    let Question {
        protocol,
        to,
        nth,
        patience_ms,
    } = *question;
    let patience = Duration::from_millis(patience_ms);
    let said = match protocol {
        Protocol::Tcp => tcp(to, patience),
        Protocol::Udp => udp(to, patience, nth % 2 == 0),
        Protocol::Ping => {
            return ping(to, patience).map_or_else(|error| failure(&error), |()| Answer::Echo);
        }
    };
    said.map_or_else(|error| failure(&error), |text| backend(&text))
}

fn failure(error: &io::Error) -> Answer {
    match error.kind() {
        ErrorKind::ConnectionRefused => Answer::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Answer::Nothing,
        _ => Answer::Failed(error.to_string()),
    }
}

/// A server says its name and the address that it saw.
fn backend(text: &str) -> Answer {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        [name, saw] if saw.parse::<IpAddr>().is_ok() => {
            saw.parse().map_or(Answer::Nothing, |saw| Answer::Backend {
                name: name.to_owned(),
                saw,
            })
        }
        _ => Answer::Failed(format!("somebody else answered: {text:?}")),
    }
}

fn tcp(to: SocketAddr, patience: Duration) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut text = String::new();
    stream.take(LONGEST as u64).read_to_string(&mut text)?;
    Ok(text)
}

fn udp(to: SocketAddr, patience: Duration, is_connected: bool) -> io::Result<String> {
    let socket = UdpSocket::bind(addresses::unspecified(to.is_ipv4()))?;
    socket.set_read_timeout(Some(patience))?;
    let mut bytes = [0; LONGEST];
    let length = if is_connected {
        socket.connect(to)?;
        socket.send(GREETING)?;
        socket.recv(&mut bytes)?
    } else {
        socket.send_to(GREETING, to)?;
        let (length, from) = socket.recv_from(&mut bytes)?;
        if from != to {
            return Err(io::Error::other(format!(
                "asked {to}, and the answer is from {from}"
            )));
        }
        length
    };
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

/// By a ping socket, whose identifier and sum the kernel writes.
fn ping(to: SocketAddr, patience: Duration) -> io::Result<()> {
    let (family, protocol, (request, reply)) = if to.is_ipv4() {
        (AddressFamily::Inet, SockProtocol::Icmp, ECHO[0])
    } else {
        (AddressFamily::Inet6, SockProtocol::IcmpV6, ECHO[1])
    };
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = UdpSocket::from(socket(family, SockType::Datagram, flags, protocol)?);
    socket.set_read_timeout(Some(patience))?;
    // A ping socket has no port, and an address without one is connected to all the same.
    socket.connect(SocketAddr::new(to.ip(), 0))?;
    let head = [request, 0, 0, 0, 0, 0, 0, 1];
    socket.send(&[&head[..], GREETING].concat())?;
    let mut bytes = [0; LONGEST];
    let length = socket.recv(&mut bytes)?;
    if bytes[0] == reply && bytes[..length].ends_with(GREETING) {
        Ok(())
    } else {
        Err(io::Error::other("what came back is no echo"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::cli::selftest::server;

    fn question(protocol: Protocol, to: SocketAddr, nth: usize) -> Question {
        Question {
            protocol,
            to,
            nth,
            patience_ms: 2000,
        }
    }

    #[test]
    fn a_server_of_the_test_is_understood() {
        let to = server::serve("web-1", (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let wanted = Answer::Backend {
            name: "web-1".into(),
            saw: Ipv4Addr::LOCALHOST.into(),
        };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for nth in 0..2 {
                assert_eq!(ask(&question(protocol, to, nth)), wanted, "{protocol:?}");
            }
        }
    }

    #[test]
    fn a_closed_port_refuses() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = free.local_addr().unwrap();
        drop(free);
        assert_eq!(ask(&question(Protocol::Tcp, to, 0)), Answer::Refused);
    }

    #[test]
    fn what_another_server_says_is_no_backend() {
        assert!(matches!(backend("HTTP/1.0 200 OK"), Answer::Failed(_)));
        assert!(matches!(backend("web-1 nobody"), Answer::Failed(_)));
    }
}
