//! A flow: what both sides have done, its state, and for how long it is anybody's.

use super::frame::{Packet, Proto};
use crate::packet_table::{
    packet::{FIN, RST, SYN, Tuple},
    plan::Device,
};

use super::cluster::Pool;

/// Virtual time, in nanoseconds.
pub(crate) type Time = u64;
pub(crate) const SECOND: Time = 1_000_000_000;
/// Entries live up to so much longer than their idle time: two of the units that they keep times in,
/// and what a sequence lets pass in smaller steps.
const LATER: Time = 2 * (1 << 32) + 20 * SECOND;
/// How long packets that change nothing go by their own entry alone.
const VERIFIED: Time = 1 << 27;

/// What one side has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Did {
    /// [`SENT`] and the others.
    pub(crate) bits: u8,
}

pub(crate) const SENT: u8 = 1;
pub(crate) const FINISHED: u8 = 2;
pub(crate) const RESET: u8 = 4;
/// Has shown that it takes the connection for open.
pub(crate) const OPEN: u8 = 8;
/// Sent something after the other side had finished.
pub(crate) const ANSWERED: u8 = 16;
/// Opened, so that the other side can show that it saw it.
pub(crate) const PROVABLE: u8 = 32;

impl Did {
    pub(crate) const fn has(self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    /// Sends a packet; who resets a connection says nothing else of it, and who goes on has not
    /// reset it.
    fn send(&mut self, packet: &Packet, other: Self) {
        self.bits |= SENT;
        if packet.has(RST) {
            self.bits |= RESET;
            return;
        }
        self.bits &= !RESET;
        if packet.has(FIN) {
            self.bits |= FINISHED;
        }
        if other.has(FINISHED) {
            self.bits |= ANSWERED;
        }
    }
}

/// The states that `docs/datapath.md` draws.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    SynSent,
    SynReceived,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Closed,
    Unanswered,
    Answered,
    Stream,
}

impl State {
    /// In seconds.
    const fn idle_time(self) -> u64 {
        match self {
            Self::SynSent | Self::FinWait | Self::TimeWait | Self::Stream => 120,
            Self::SynReceived => 60,
            Self::Established => 24 * 3600,
            Self::CloseWait => 3600,
            Self::LastAck | Self::Unanswered | Self::Answered => 30,
            Self::Closed => 10,
        }
    }
}

/// Is something that was seen so long ago past its time, in seconds? `None`: near to it.
pub(crate) fn is_past(age: Time, idle_time: u64) -> Option<bool> {
    let most = idle_time * SECOND;
    if age <= most {
        Some(false)
    } else {
        (age > most + LATER).then_some(true)
    }
}

/// Which of the two maps it stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stands {
    New,
    Established,
}

/// Whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    Service(Pool),
    /// A direct connection that came second: of a client elsewhere, or of this node.
    Direct {
        of_node: bool,
    },
}

/// A flow with its two entries.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) proto: Proto,
    pub(crate) owner: Owner,
    /// As the client's packets come.
    pub(crate) client: Tuple,
    /// As they leave us.
    pub(crate) sent: Tuple,
    /// Its reply tuple was given to another flow, when it was past.
    pub(crate) displaced: bool,
    /// The backend is on this node.
    pub(crate) local: bool,
    /// The client's side comes over `lb0`.
    pub(crate) lb0: bool,
    pub(crate) stands: Stands,
    /// By which device answers of a local backend leave.
    pub(crate) device: Device,
    /// By which the last packet came that looked at the reply entry.
    pub(crate) verified_by: Device,
    pub(crate) verified: Option<Time>,
    pub(crate) by_client: Did,
    pub(crate) by_server: Did,
    /// TCP: what the client must acknowledge; SCTP: the tag that it must send.
    pub(crate) proof: u32,
    pub(crate) began: Time,
    pub(crate) last: Time,
}

impl Flow {
    /// As the server's packets come.
    pub(crate) fn answers(&self) -> Tuple {
        self.sent.turned()
    }

    pub(crate) fn state(&self) -> State {
        let (client, server) = (self.by_client, self.by_server);
        let either = |bit| client.has(bit) || server.has(bit);
        let both = |bit| client.has(bit) && server.has(bit);
        if self.proto == Proto::Udp {
            return match (either(OPEN), server.has(SENT)) {
                (true, _) => State::Stream,
                (_, true) => State::Answered,
                _ => State::Unanswered,
            };
        }
        match () {
            () if either(RESET) => State::Closed,
            () if both(FINISHED) && both(ANSWERED) => State::TimeWait,
            () if both(FINISHED) => State::LastAck,
            () if either(FINISHED) && either(ANSWERED) => State::CloseWait,
            () if either(FINISHED) => State::FinWait,
            () if either(OPEN) => State::Established,
            () if server.has(SENT) => State::SynReceived,
            () => State::SynSent,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(
            self.state(),
            State::LastAck | State::TimeWait | State::Closed
        )
    }

    /// `None`: near to it.
    pub(crate) fn is_past(&self, now: Time) -> Option<bool> {
        is_past(now - self.last, self.state().idle_time())
    }

    /// Has a side shown that it takes the connection for open?
    pub(crate) fn is_confirmed(&self) -> bool {
        self.by_client.has(OPEN) || self.by_server.has(OPEN)
    }

    /// May this packet of the client's skip the look at the reply entry?
    pub(crate) fn is_fast(&self, packet: &Packet, device: Device, now: Time) -> bool {
        let fresh = self.verified.is_some_and(|at| now - at < VERIFIED);
        self.stands == Stands::Established
            && packet.changes_nothing()
            && self.verified_by == device
            && fresh
    }

    /// Both sides have sent datagrams, over more than two seconds.
    fn is_stream(&self, other: Did, now: Time) -> bool {
        other.has(SENT) && now - self.began > 2 * SECOND
    }

    /// The client has sent this.
    pub(crate) fn client_sent(&mut self, packet: &Packet, now: Time) {
        self.by_client.send(packet, self.by_server);
        let proves = match self.proto {
            Proto::Udp => self.is_stream(self.by_server, now),
            _ if !self.by_server.has(PROVABLE) || !packet.acknowledges() => false,
            Proto::Tcp | Proto::Sctp => packet.number == self.proof,
        };
        if proves {
            self.by_client.bits |= OPEN;
        }
        self.last = now;
    }

    /// The server has sent this.
    pub(crate) fn server_sent(&mut self, packet: &Packet, now: Time) {
        self.by_server.send(packet, self.by_client);
        match self.proto {
            Proto::Udp if self.is_stream(self.by_client, now) => {
                self.by_server.bits |= OPEN;
            }
            Proto::Udp => {}
            // It is confirmed, and its age may stand there.
            Proto::Tcp if packet.has(SYN) && self.stands == Stands::Established => {}
            proto if packet.has(SYN) => {
                let next = u32::from(proto == Proto::Tcp);
                self.proof = packet.number.wrapping_add(next);
                self.by_server.bits |= PROVABLE;
            }
            _ if packet.has(RST) => {}
            _ if packet.has_data => self.by_server.bits |= OPEN,
            _ => {}
        }
        self.last = now;
    }

    /// The first packet of the client's.
    pub(crate) fn began_with(&mut self, packet: &Packet, now: Time) {
        self.by_client = Did::default();
        self.by_server = Did::default();
        self.by_client.send(packet, Did::default());
        (self.began, self.last) = (now, now);
        self.proof = 0;
    }
}
