//! The state of a connection, and how long an entry in that state is anybody's: the states and
//! times of `nf_conntrack`, beside which the flows of local backends live.
//!
//! What a packet does to a flow is a pure function of what both sides have done before: the same
//! code runs in the kernel and in the tests.

use super::{Flow, connects};

/// Bits of [`Flow::client`] and [`Flow::server`]: what that side has done.
pub mod seen {
    /// Sent a packet.
    pub const PACKET: u8 = 1;
    /// Sent a TCP FIN; of SCTP a SHUTDOWN, or what answers it.
    pub const FIN: u8 = 1 << 1;
    /// Sent a TCP RST, or an ABORT of SCTP, and nothing since: who resets a connection has
    /// forgotten it, so what that side sends afterwards shows that the reset was not its own.
    pub const RST: u8 = 1 << 2;
    /// Has shown that it takes the connection for open. The client: it acknowledged what opened the
    /// server's side (see [`Flow::proof`]). The server: data or their end, which it sends
    /// once its handshake is complete; a bare ACK may be a challenge (RFC 5961). Of UDP: sent a
    /// datagram that makes the flow a stream (see [`stream_began`]).
    pub const DATA: u8 = 1 << 3;
    /// Sent something after the other side's FIN.
    pub const ANSWERED: u8 = 1 << 4;
    /// The server: what the client must acknowledge stands in [`Flow::proof`].
    pub const PROOF: u8 = 1 << 5;
}

/// What a packet says about its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Event {
    /// TCP SYN; of SCTP INIT and INIT ACK.
    pub syn: bool,
    /// TCP FIN; of SCTP SHUTDOWN and what answers it.
    pub fin: bool,
    /// TCP RST; of SCTP ABORT.
    pub rst: bool,
}

/// What a side has done once it has sent this packet too; `other` is what the other side has done.
#[inline(always)]
#[must_use]
pub const fn after(own: u8, other: u8, event: Event) -> u8 {
    let mut bits = own | seen::PACKET;
    if event.rst {
        return bits | seen::RST;
    }
    bits &= !seen::RST;
    if event.fin {
        bits |= seen::FIN;
    }
    if other & seen::FIN != 0 {
        bits |= seen::ANSWERED;
    }
    bits
}

/// States of a flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub enum State {
    /// A client asks, and no one has answered. SYN_SENT of `nf_conntrack`.
    SynSent,
    /// The server has answered; neither side has shown that the handshake was true. SYN_RECV.
    SynReceived,
    /// The client has acknowledged what the server sent, or the server sends data. ESTABLISHED.
    Established,
    /// One side has finished, and the other has said nothing since. FIN_WAIT.
    FinWait,
    /// One side has finished, and the other goes on. CLOSE_WAIT.
    CloseWait,
    /// Both have finished, and the last is not acknowledged. LAST_ACK.
    LastAck,
    /// Both have finished. TIME_WAIT.
    TimeWait,
    /// Reset. CLOSE.
    Closed,
    /// UDP: no answer yet.
    Unanswered,
    /// UDP: an answer, nothing that lasts.
    Answered,
    /// UDP: datagrams of both sides over more than two seconds.
    Stream,
}

/// Entries keep times in units of 2³² ns (4.29 s) of `CLOCK_MONOTONIC`.
#[inline(always)]
#[must_use]
pub const fn units(now_ns: u64) -> u32 {
    (now_ns >> 32) as u32
}

/// The units that hold so many seconds, rounded up.
#[must_use]
pub const fn units_of(seconds: u32) -> u32 {
    const NANOSECONDS: u64 = 1_000_000_000;
    #[expect(clippy::cast_possible_truncation, reason = "less than the seconds")]
    {
        (seconds as u64 * NANOSECONDS).div_ceil(1 << 32) as u32
    }
}

/// Idle times that can be set, in units (see [`units_of`]): those that kube-proxy's `conntrack.*`
/// sets. The others are those of `nf_conntrack`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Timeouts {
    /// [`State::Established`].
    pub established: u32,
    /// [`State::CloseWait`].
    pub close_wait: u32,
    /// [`State::Unanswered`] and [`State::Answered`].
    pub udp: u32,
    /// [`State::Stream`].
    pub udp_stream: u32,
}

impl Timeouts {
    /// kube-proxy's defaults for TCP, and the kernel's for UDP.
    pub const DEFAULT: Self = Self {
        established: units_of(24 * 3600),
        close_wait: units_of(3600),
        udp: units_of(30),
        udp_stream: units_of(120),
    };
}

/// Until when an entry keeps its tuple from others, however short ports are, in units. More than
/// one, so that no other flow takes a tuple while a verification of its forward entry holds.
const GRACE: u32 = 2;

impl State {
    /// The state of a flow whose sides have done this.
    #[inline(always)]
    #[must_use]
    pub const fn of(client: u8, server: u8, connects: bool) -> Self {
        if !connects {
            return if (client | server) & seen::DATA != 0 {
                Self::Stream
            } else if server & seen::PACKET != 0 {
                Self::Answered
            } else {
                Self::Unanswered
            };
        }
        let (both, either) = (client & server, client | server);
        if either & seen::RST != 0 {
            Self::Closed
        } else if both & seen::FIN != 0 {
            if both & seen::ANSWERED != 0 {
                Self::TimeWait
            } else {
                Self::LastAck
            }
        } else if either & seen::FIN != 0 {
            if either & seen::ANSWERED != 0 {
                Self::CloseWait
            } else {
                Self::FinWait
            }
        } else if either & seen::DATA != 0 {
            Self::Established
        } else if server & seen::PACKET != 0 {
            Self::SynReceived
        } else {
            Self::SynSent
        }
    }

    /// After how many units without a packet the entry is nobody's. Never earlier than the state's
    /// time, and up to two units later.
    #[inline(always)]
    #[must_use]
    pub const fn keep(self, timeouts: &Timeouts) -> u32 {
        match self {
            Self::SynSent | Self::FinWait | Self::TimeWait => units_of(120),
            Self::SynReceived => units_of(60),
            Self::Established => timeouts.established,
            Self::CloseWait => timeouts.close_wait,
            Self::LastAck => units_of(30),
            Self::Closed => units_of(10),
            Self::Unanswered | Self::Answered => timeouts.udp,
            Self::Stream => timeouts.udp_stream,
        }
    }

    /// The same for a flow that wants the tuple when ports are short: what is closed, half open or
    /// asked once gives way, what lasts does not.
    #[inline(always)]
    #[must_use]
    pub const fn keep_when_short(self, timeouts: &Timeouts) -> u32 {
        match self {
            Self::Established | Self::CloseWait | Self::Stream => self.keep(timeouts),
            _ => GRACE,
        }
    }

    /// Over, or about to be: a SYN on its tuple opens another connection.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::LastAck | Self::TimeWait | Self::Closed)
    }

    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Closed,
        Self::Unanswered,
        Self::Answered,
        Self::Stream,
    ];

    /// A lower-case word for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn-sent",
            Self::SynReceived => "syn-received",
            Self::Established => "established",
            Self::FinWait => "fin-wait",
            Self::CloseWait => "close-wait",
            Self::LastAck => "last-ack",
            Self::TimeWait => "time-wait",
            Self::Closed => "closed",
            Self::Unanswered => "unanswered",
            Self::Answered => "answered",
            Self::Stream => "stream",
        }
    }
}

/// Is an entry of `lb_foreign` nobody's by now: a connection that is none of ours, whose last packet
/// was seen at `last`, in [`units`]? Of TCP and SCTP only the first packet is seen.
#[inline(always)]
#[must_use]
pub const fn is_foreign_past(last: u32, proto: u8, timeouts: &Timeouts, now_ns: u64) -> bool {
    let keep = if connects(proto) {
        timeouts.established
    } else {
        timeouts.udp_stream
    };
    let age = units(now_ns).wrapping_sub(last);
    // A time of another CPU may lie a unit ahead.
    age > keep && age <= u32::MAX / 2
}

/// When a UDP flow began, as [`Flow::proof`] of its reply entry keeps it: units of 2²⁰ ns.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "differences are asked for")]
pub const fn began(now_ns: u64) -> u32 {
    (now_ns >> 20) as u32
}

/// Has the flow that began then lasted for two seconds, from which on `nf_conntrack` takes answered
/// datagrams for a stream?
#[inline(always)]
#[must_use]
pub const fn stream_began(began_at: u32, now_ns: u64) -> bool {
    const TWO_SECONDS: u32 = 2_000_000_000 >> 20;
    began(now_ns).wrapping_sub(began_at) > TWO_SECONDS
}

impl Flow {
    /// The state; asked of a reply entry.
    #[inline(always)]
    #[must_use]
    pub const fn state(&self, proto: u8) -> State {
        State::of(self.client, self.server, connects(proto))
    }

    /// Has a side shown that it takes the connection for open? A flood of forged packets cannot make
    /// it so, and such flows live in `lb_flows`. Asked of a reply entry.
    #[inline(always)]
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        (self.client | self.server) & seen::DATA != 0
    }

    /// Units since its last packet; 0 if another CPU saw one just now. Asked of a reply entry.
    #[inline(always)]
    #[must_use]
    pub const fn age(&self, now_ns: u64) -> u32 {
        let age = units(now_ns).wrapping_sub(self.seen);
        if age > u32::MAX / 2 { 0 } else { age }
    }

    /// Is it nobody's by now? Asked of a reply entry.
    #[inline(always)]
    #[must_use]
    pub fn is_past(&self, proto: u8, timeouts: &Timeouts, now_ns: u64) -> bool {
        self.is_older_than(now_ns, || self.state(proto).keep(timeouts))
    }

    /// The same for a state that is kept for so many units, which is asked only if it matters.
    #[inline(always)]
    #[must_use]
    pub fn is_older_than(&self, now_ns: u64, keep: impl FnOnce() -> u32) -> bool {
        let age = self.age(now_ns);
        // No state is left sooner, and most entries are asked while packets flow.
        age > GRACE && age > keep()
    }
}

#[cfg(test)]
mod tests;
