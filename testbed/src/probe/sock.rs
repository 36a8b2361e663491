//! This side of one socket of the helper: each method is one system call there.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::{
    Answer, Kind, Received, Reply, Request,
    client::{Line, unexpected},
};
use crate::poll::patient;

/// How long an answer may take on this machine when it is busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket of the helper's; closed with this value.
#[derive(Debug)]
pub struct Sock {
    line: Arc<Line>,
    id: u32,
    kind: Kind,
}

impl Sock {
    pub(super) const fn new(line: Arc<Line>, id: u32, kind: Kind) -> Self {
        Self { line, id, kind }
    }

    /// `O_NONBLOCK`
    pub fn nonblocking(&self) -> io::Result<()> {
        self.line.done(&Request::Nonblocking { sock: self.id })
    }

    /// `SO_BINDTODEVICE`
    pub fn bind_device(&self, device: &str) -> io::Result<()> {
        self.line.done(&Request::BindDevice {
            sock: self.id,
            device: device.to_owned(),
        })
    }

    /// Joins groups until the kernel grants the socket no more memory for options
    /// (`net.core.optmem_max`). An IPv6 socket.
    pub fn fill_options(&self) -> io::Result<()> {
        self.line.done(&Request::FillOptions { sock: self.id })
    }

    /// `TCP_FASTOPEN_CONNECT`: the next connect sends nothing before the first data.
    pub fn fast_open_connect(&self) -> io::Result<()> {
        self.line.done(&Request::FastOpenConnect { sock: self.id })
    }

    /// bind(2)
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.line.done(&Request::Bind {
            sock: self.id,
            addr,
        })
    }

    /// connect(2)
    pub fn connect(&self, addr: SocketAddr) -> io::Result<()> {
        self.line.done(&Request::Connect {
            sock: self.id,
            addr,
        })
    }

    /// connect(2) with `AF_UNSPEC`
    pub fn disconnect(&self) -> io::Result<()> {
        self.line.done(&Request::Disconnect { sock: self.id })
    }

    /// Waits until a connect under way has ended; its error is `SO_ERROR`.
    pub fn writable(&self) -> io::Result<()> {
        self.line.done(&Request::Writable { sock: self.id })
    }

    /// send(2) of a line
    pub fn send(&self, text: &str) -> io::Result<()> {
        self.line.done(&Request::Send {
            sock: self.id,
            text: format!("{text}\n"),
        })
    }

    /// sendto(2) of a line
    pub fn send_to(&self, addr: SocketAddr, text: &str) -> io::Result<()> {
        self.line.done(&Request::SendTo {
            sock: self.id,
            addr,
            text: format!("{text}\n"),
        })
    }

    /// sendto(2) of a line with `MSG_FASTOPEN` on a socket that is not connected yet
    pub fn send_fast(&self, addr: SocketAddr, text: &str) -> io::Result<()> {
        self.line.done(&Request::SendFast {
            sock: self.id,
            addr,
            text: format!("{text}\n"),
        })
    }

    /// recvmsg(2), for at most this long
    pub fn recv_within(&self, within: Duration) -> io::Result<Received> {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        match self.line.ask(&Request::Recv {
            sock: self.id,
            within_ms,
        })? {
            Reply::Received(received) => Ok(received),
            other => Err(unexpected(&other)),
        }
    }

    /// sendto(2) of a whole packet, for [`Kind::SctpPackets`]
    pub fn send_packet(&self, to: IpAddr, bytes: &[u8]) -> io::Result<()> {
        self.line.done(&Request::SendPacket {
            sock: self.id,
            to,
            bytes: bytes.to_vec(),
        })
    }

    /// recvfrom(2) of a whole packet, for at most this long; its sender too
    pub fn packet_within(&self, within: Duration) -> io::Result<(IpAddr, Vec<u8>)> {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        match self.line.ask(&Request::TakePacket {
            sock: self.id,
            within_ms,
        })? {
            Reply::Packet(from, bytes) => Ok((from, bytes)),
            other => Err(unexpected(&other)),
        }
    }

    /// recvmsg(2) of a server's answer, until the line is whole
    pub fn answer(&self) -> io::Result<Answer> {
        let Received { mut text, from } = self.recv_within(patient(PATIENCE))?;
        while self.kind != Kind::Udp && !text.ends_with('\n') {
            let more = self.recv_within(patient(PATIENCE))?.text;
            if more.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            text.push_str(&more);
        }
        let mut words = text.trim_end().splitn(3, ' ');
        let parsed = (|| {
            let (name, client, text) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
            Some(Answer {
                name: name.to_owned(),
                client,
                from,
                text: text.to_owned(),
            })
        })();
        parsed.ok_or_else(|| io::Error::other(format!("not a server's answer: {text:?}")))
    }

    /// Sends on a connected socket and takes the answer.
    pub fn ask(&self, text: &str) -> io::Result<Answer> {
        self.send(text)?;
        self.checked(text)
    }

    /// Sends one datagram there and takes the answer.
    pub fn ask_at(&self, addr: SocketAddr, text: &str) -> io::Result<Answer> {
        self.send_to(addr, text)?;
        self.checked(text)
    }

    fn checked(&self, text: &str) -> io::Result<Answer> {
        let answer = self.answer()?;
        if answer.text != text {
            return Err(io::Error::other(format!(
                "asked {text:?} on {:?}, got {answer:?}",
                self.kind
            )));
        }
        Ok(answer)
    }

    /// getpeername(2)
    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.line.addr(&Request::Peer { sock: self.id })
    }

    /// getsockname(2)
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.line.addr(&Request::Local { sock: self.id })
    }

    /// Gives the open socket to a child process as well, as fork does.
    pub fn share(&self) -> io::Result<Share> {
        let child = self.line.id(&Request::Share { sock: self.id })?;
        Ok(Share {
            line: Arc::clone(&self.line),
            child,
        })
    }

    /// close(2), where the moment matters.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Sock {
    fn drop(&mut self) {
        // The helper may be gone, and its sockets with it.
        let _ = self.line.done(&Request::Close { sock: self.id });
    }
}

/// A child process that holds the same open socket.
#[derive(Debug)]
pub struct Share {
    line: Arc<Line>,
    child: u32,
}

impl Share {
    /// Ends the child, and waits for its end.
    pub fn end(self) -> io::Result<()> {
        self.line.done(&Request::EndShare { child: self.child })
    }
}
