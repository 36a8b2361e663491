//! One socket of the helper: each request is one system call, its error number handed back as it
//! is.

use std::{
    fs::File,
    io::{self, Read as _},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    process::{Child, Stdio},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        MsgFlags, SockaddrIn, SockaddrStorage, connect, recvfrom, sendto, setsockopt, sockopt,
    },
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Family, Kind, Received};
use crate::{
    poll::{patient, uninterrupted},
    process,
};

/// Connects and sends that hang fail after this long, as ETIMEDOUT or EAGAIN.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest message.
const MESSAGE: usize = 65536;

pub(super) fn open(kind: Kind, family: Family) -> io::Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let (socket_type, protocol) = match (kind, family) {
        (Kind::Tcp, _) => (Type::STREAM, Protocol::TCP),
        (Kind::Udp, _) => (Type::DGRAM, Protocol::UDP),
        (Kind::Mptcp, _) => (Type::STREAM, Protocol::MPTCP),
        (Kind::Ping, Family::V4) => (Type::DGRAM, Protocol::ICMPV4),
        (Kind::Ping, Family::V6) => (Type::DGRAM, Protocol::ICMPV6),
        (Kind::Sctp, _) => (Type::STREAM, Protocol::from(libc::IPPROTO_SCTP)),
        (Kind::SctpPackets, _) => (Type::RAW, Protocol::from(libc::IPPROTO_SCTP)),
    };
    let socket = Socket::new(domain, socket_type, Some(protocol))?;
    if family == Family::V6 && kind != Kind::SctpPackets {
        socket.set_only_v6(false)?;
    }
    socket.set_write_timeout(Some(patient(PATIENCE)))?;
    Ok(socket)
}

/// connect(2) with AF_UNSPEC: a datagram socket forgets its peer, a stream is reset.
pub(super) fn disconnect(socket: &Socket) -> io::Result<()> {
    let unspecified = libc::sockaddr_in {
        sin_family: 0, // AF_UNSPEC
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: 0 },
        sin_zero: [0; 8],
    };
    Ok(connect(socket.as_raw_fd(), &SockaddrIn::from(unspecified))?)
}

/// Waits until a connect in progress has ended, and says how.
pub(super) fn writable(socket: &Socket) -> io::Result<()> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    let patience = PollTimeout::try_from(patient(PATIENCE)).unwrap_or(PollTimeout::MAX);
    if uninterrupted(|| Ok(poll(&mut fds, patience)?))? == 0 {
        return Err(Errno::ETIMEDOUT.into());
    }
    socket.take_error()?.map_or(Ok(()), Err)
}

pub(super) fn send(socket: &Socket, text: &str) -> io::Result<()> {
    socket.send(text.as_bytes()).map(drop)
}

pub(super) fn send_to(socket: &Socket, addr: SocketAddr, text: &str) -> io::Result<()> {
    socket
        .send_to(text.as_bytes(), &SockAddr::from(addr))
        .map(drop)
}

/// connect and first data in one call (`MSG_FASTOPEN`).
pub(super) fn send_fast(socket: &Socket, addr: SocketAddr, text: &str) -> io::Result<()> {
    let flag = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
    sendto(
        socket.as_raw_fd(),
        text.as_bytes(),
        &SockaddrStorage::from(addr),
        flag,
    )?;
    Ok(())
}

pub(super) fn fast_open_connect(socket: &Socket) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::TcpFastOpenConnect, &true)?)
}

/// Joins one group after another; there are more of them than fit.
pub(super) fn fill_options(socket: &Socket) -> io::Result<()> {
    for n in 0..u16::MAX {
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0x6c62, n);
        if let Err(error) = socket.join_multicast_v6(&group, 0) {
            let full = [libc::ENOMEM, libc::ENOBUFS].map(Some);
            return if full.contains(&error.raw_os_error()) {
                Ok(())
            } else {
                Err(error)
            };
        }
    }
    Err(io::Error::other("the memory for options has no end"))
}

pub(super) fn receive(socket: &Socket, within: Duration) -> io::Result<Received> {
    socket.set_read_timeout(Some(within))?;
    let mut bytes = vec![0; MESSAGE];
    if socket.r#type()? == Type::STREAM {
        let mut stream: &Socket = socket;
        let length = uninterrupted(|| stream.read(&mut bytes))?;
        return Ok(Received {
            text: text(&bytes[..length]),
            from: None,
        });
    }
    let (length, from) = take(socket, &mut bytes)?;
    Ok(Received {
        text: text(&bytes[..length]),
        from: from.as_ref().and_then(address),
    })
}

/// The next message or packet: its length, and who sent it.
fn take(socket: &Socket, bytes: &mut [u8]) -> io::Result<(usize, Option<SockaddrStorage>)> {
    uninterrupted(|| Ok(recvfrom(socket.as_raw_fd(), bytes)?))
}

/// One packet behind an IP header that the kernel writes.
pub(super) fn send_packet(socket: &Socket, to: IpAddr, bytes: &[u8]) -> io::Result<()> {
    let to = SockAddr::from(SocketAddr::new(to, 0));
    socket.send_to(bytes, &to).map(drop)
}

/// The next packet, without its IP header, and who sent it.
pub(super) fn take_packet(socket: &Socket, within: Duration) -> io::Result<(IpAddr, Vec<u8>)> {
    socket.set_read_timeout(Some(within))?;
    let mut bytes = vec![0; MESSAGE];
    let (length, from) = take(socket, &mut bytes)?;
    bytes.truncate(length);
    let from = from.as_ref().and_then(address);
    let from = from.ok_or_else(|| io::Error::other("a packet without a sender"))?;
    if from.is_ipv4() {
        // Raw sockets of IPv4 show the header too.
        let header = usize::from(bytes.first().unwrap_or(&0) & 0xf) * 4;
        bytes.drain(..header.min(length));
    }
    Ok((from.ip(), bytes))
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage
        .as_sockaddr_in()
        .map(|addr| SocketAddr::from((addr.ip(), addr.port())));
    v4.or_else(|| {
        storage
            .as_sockaddr_in6()
            .map(|addr| SocketAddr::from((addr.ip(), addr.port())))
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn peer(socket: &Socket) -> io::Result<SocketAddr> {
    inet(&socket.peer_addr()?)
}

pub(super) fn local(socket: &Socket) -> io::Result<SocketAddr> {
    inet(&socket.local_addr()?)
}

fn inet(addr: &SockAddr) -> io::Result<SocketAddr> {
    addr.as_socket()
        .ok_or_else(|| io::Error::other("not an internet address"))
}

/// A child process that has the same open socket as its standard input: what fork leaves behind.
pub(super) fn share(socket: &Socket) -> io::Result<Child> {
    let copy: OwnedFd = socket.try_clone()?.into();
    process::helper()
        .map_err(io::Error::other)?
        .arg("hold")
        .stdin(Stdio::from(File::from(copy)))
        .stdout(Stdio::null())
        .spawn()
}
