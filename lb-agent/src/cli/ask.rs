//! One HTTP request of a verb to a running agent.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// How long the agent may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Whether the status is 200, and the body; `None` if there is no answer. The request for an
/// unspecified address goes to loopback.
pub(super) fn get(address: SocketAddr, path: &str) -> Option<(bool, String)> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(ip, address.port());
    let stream = TcpStream::connect_timeout(&address, ANSWER).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    let (status, body) = exchange(stream, path)?;
    Some((status == 200, body))
}

/// Status and body, from the agent's own socket.
pub(super) fn local(socket: &Path, path: &str) -> Option<(u16, String)> {
    let stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    exchange(stream, path)
}

fn exchange(mut stream: impl Read + Write, path: &str) -> Option<(u16, String)> {
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
