//! One association, packet by packet, both of whose ends the test plays. Owns what each end must
//! see.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    host::Host,
    pod::Pod,
    poll,
    probe::{Family, Kind, Sock},
    sctp::{Packet, chunk, read},
};

use super::{TARGET, WITHIN};

/// One association: who speaks first, to whom, and whom the server sees.
pub(super) struct Association<'a> {
    pub(super) client: &'a Host,
    pub(super) server: &'a Pod,
    pub(super) to: SocketAddr,
    /// The client's, of its own choice.
    pub(super) port: u16,
    pub(super) seen_from: IpAddr,
}

/// An association between two sockets.
pub(super) struct Open<'a> {
    of: &'a Association<'a>,
    client: Sock,
    server: Sock,
    /// As the server sees it.
    seen_port: u16,
    sent: u8,
}

impl Association<'_> {
    /// Both ends are ready, nothing was sent.
    fn ends(&self) -> Result<(Sock, Sock)> {
        let family = Family::of(&self.to);
        Ok((
            self.client.socket(Kind::SctpPackets, family)?,
            self.server.socket(Kind::SctpPackets, family)?,
        ))
    }

    /// Opened by the four packets that open one.
    pub(super) fn open(&self) -> Result<Open<'_>> {
        let (client, server) = self.ends()?;
        let mut open = Open {
            of: self,
            client,
            server,
            seen_port: 0,
            sent: 0,
        };
        open.asks(chunk::INIT, 16)?;
        ensure!(
            open.seen_port == self.port,
            "the server saw port {}",
            open.seen_port
        );
        open.answers(chunk::INIT_ACK, 301)?;
        open.asks(chunk::COOKIE_ECHO, 280)?;
        open.answers(chunk::COOKIE_ACK, 0)?;
        Ok(open)
    }

    pub(super) fn whole(&self) -> Result<()> {
        let mut open = self.open()?;
        for length in [1, 1203, 8, 777] {
            open.asks(chunk::DATA, length)?;
            open.answers(chunk::DATA, length + 5)?;
            open.answers(chunk::SACK, 12)?;
        }
        open.asks(chunk::SHUTDOWN, 4)?;
        open.answers(chunk::SHUTDOWN_ACK, 0)?;
        open.asks(chunk::SHUTDOWN_COMPLETE, 0)
    }
}

impl Open<'_> {
    fn packet(&mut self, ports: (u16, u16), chunk: u8, length: usize) -> Packet {
        self.sent += 1;
        Packet {
            ports,
            tag: if chunk == chunk::INIT {
                0
            } else {
                0xfeed_0000 + u32::from(self.sent)
            },
            chunk,
            body: (self.sent..=u8::MAX).cycle().take(length).collect(),
        }
    }

    /// From the client to the server.
    pub(super) fn asks(&mut self, chunk: u8, length: usize) -> Result<()> {
        let Association {
            to,
            port,
            seen_from,
            ..
        } = *self.of;
        let sent = self.packet((port, to.port()), chunk, length);
        self.client.send_packet(to.ip(), &sent.bytes())?;
        let (from, came) = next(&self.server).with_context(|| format!("chunk {chunk} to {to}"))?;
        ensure!(from == seen_from, "the server saw {from}, not {seen_from}");
        if chunk == chunk::INIT {
            self.seen_port = came.ports.0;
        }
        let wanted = Packet {
            ports: (self.seen_port, TARGET),
            ..sent
        };
        ensure!(came == wanted, "{came:?} came, not {wanted:?}");
        Ok(())
    }

    /// From the server to the client.
    pub(super) fn answers(&mut self, chunk: u8, length: usize) -> Result<()> {
        let Association {
            to,
            port,
            seen_from,
            ..
        } = *self.of;
        let sent = self.packet((TARGET, self.seen_port), chunk, length);
        self.server.send_packet(seen_from, &sent.bytes())?;
        let (from, came) =
            next(&self.client).with_context(|| format!("chunk {chunk} from {to}"))?;
        let wanted = Packet {
            ports: (to.port(), port),
            ..sent
        };
        ensure!(from == to.ip(), "the answer came from {from}, not {to}");
        ensure!(came == wanted, "{came:?} came, not {wanted:?}");
        Ok(())
    }
}

/// The next packet, whose sum is right, and who sent it.
fn next(sock: &Sock) -> Result<(IpAddr, Packet)> {
    let (from, bytes) = sock.packet_within(poll::patient(WITHIN))?;
    Ok((from, read(&bytes)?))
}
