//! Connections that the packet path translates: one entry a direction. Layout of `lb_flows`,
//! `lb_newflows` and `lb_snat_peers`. They outlive upgrades, so the layout is frozen; growth goes
//! into the reserved fields.

mod age;
mod ports;
mod state;

pub use age::AgeLimit;
pub use ports::{PortRange, PortRanges, RANGES};
pub use state::{
    Event, State, Timeouts, after, began, is_foreign_past, seen, stream_began, units, units_of,
};

use crate::addr::{Addr, Proto};

/// Key of `lb_flows` and `lb_newflows`: a packet's tuple as it comes in, of either direction.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct FlowKey {
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// Source port, host byte order.
    pub sport: u16,
    /// Destination port, host byte order; 0 in `lb_snat_peers`.
    pub dport: u16,
    /// IANA protocol number.
    pub proto: u8,
    /// Reserved, zero.
    pub pad: [u8; 3],
}

/// Value of `lb_flows` and `lb_newflows`, a flow entry: what the packet's tuple becomes, and which
/// pool and backend it belongs to.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Flow {
    /// Source of the packet when it leaves us.
    pub src: Addr,
    /// Its destination.
    pub dst: Addr,
    /// Its source port, host byte order.
    pub sport: u16,
    /// Its destination port, host byte order.
    pub dport: u16,
    /// Device that the client's packets come in on: replies of a local backend leave by it. Kept
    /// up to date in the reply entry; in the forward entry it is that of the last
    /// verification.
    pub ifindex: u32,
    /// Index into `lb_pools`.
    pub pool: u32,
    /// Index into `lb_backends`.
    pub backend: u32,
    /// The same random number in both entries of a flow; 0 marks an entry that is being removed.
    pub generation: u32,
    /// See [`direction`].
    pub direction: u8,
    /// See [`flags`].
    pub flags: u8,
    /// What the client's side has done, see [`seen`]; kept in the reply entry alone.
    pub client: u8,
    /// What the server's side has done, see [`seen`]; kept in the reply entry alone.
    pub server: u8,
    /// In the reply entry: of TCP the sequence number that the client must acknowledge, and with
    /// [`flags::DATED`] since when its age counts, in [`units`]; of SCTP the tag that the client must
    /// send (see [`seen::PROOF`]), of UDP when the flow began (see [`began`]). In
    /// the forward entry the lower half of the time of its last verification, in nanoseconds of
    /// `CLOCK_MONOTONIC`.
    pub proof: u32,
    /// In the reply entry: when a packet of either direction was seen last, in [`units`]. In the
    /// forward entry the upper half of the time of its last verification, when its reply entry was
    /// looked at (see [`Flow::is_verified`]). Both are the upper half of a time in nanoseconds, as
    /// which agents before this one wrote and read both halves.
    pub seen: u32,
}

/// First and last port of our own range for rewritten sources: outside of Linux's default
/// `ip_local_port_range` and of node ports.
pub const SNAT_PORTS: (u16, u16) = (61000, 65535);

/// Does a protocol that we balance, by its IANA number, have connections that are opened and
/// closed, rather than datagrams alone?
#[inline(always)]
#[must_use]
pub const fn connects(proto: u8) -> bool {
    proto != Proto::Udp.number()
}

impl FlowKey {
    /// No packet's tuple. While it has an entry, connections that were opened elsewhere are being
    /// adopted: a TCP segment or an SCTP packet that opens nothing and has no entry is passed.
    pub const ADOPTING: Self = Self {
        src: Addr::ZERO,
        dst: Addr::ZERO,
        sport: 0,
        dport: 0,
        proto: 0,
        pad: [0; 3],
    };
}

/// Numbers of [`Flow::direction`].
pub mod direction {
    /// From the client to the VIP.
    pub const FORWARD: u8 = 1;
    /// From the backend.
    pub const REPLY: u8 = 2;
    /// Of a connection that netfilter translates, since it was opened before the takeover: its
    /// packets are passed. An entry for both directions, with neither a pool nor a reverse entry.
    pub const NETFILTER: u8 = 3;
}

/// Bits of [`Flow::flags`].
pub mod flags {
    /// The backend runs on this node: its replies pass tc egress, and the client's address was
    /// kept.
    pub const LOCAL: u8 = 1;
    /// The client's packets come over `lb0`, and what answers them is handed to it: the client is a
    /// pod or a process of this node. A local backend sees [`crate::lb0::SOURCE_V4`] or
    /// [`crate::lb0::SOURCE_V6`] in its place.
    pub const LB0: u8 = 1 << 1;
    /// Of no Service: a direct connection to a backend, whose reply tuple a flow of a Service had
    /// before it. Its source port alone is rewritten, as netfilter does; it has no pool.
    pub const DIRECT: u8 = 1 << 2;
    /// Beside [`DIRECT`]: its client is this node (a process, or a pod that is masqueraded), so the
    /// reply goes up the stack.
    pub const STACK: u8 = 1 << 3;
    /// Beside [`LOCAL`]: the stack masquerades it. For the life of the flow, whatever its Service
    /// asks for by then: the backend knows one client. The bit before it had another meaning, and
    /// entries that an older agent pinned may have it set.
    pub const MASQUERADED: u8 = 1 << 5;
    /// In the reply entry of a TCP connection in `lb_flows` whose Service has a limit of age:
    /// [`Flow::proof`](super::Flow::proof) says since when it counts.
    pub const DATED: u8 = 1 << 6;
}

/// [`Flow::pool`] and [`Flow::backend`] of a flow of no Service: beyond every index.
pub const NONE: u32 = u32::MAX;

/// How long the verification of a forward entry holds, in nanoseconds: some 134 ms. The clock is as
/// coarse as a tick.
pub const VERIFIED_NS: u64 = 1 << 27;

const _: () = {
    assert!(size_of::<FlowKey>() == 40);
    assert!(size_of::<Flow>() == 64);
};

impl Flow {
    /// An entry of a connection that netfilter translates ([`direction::NETFILTER`]), as of an open
    /// one, so that no other flow takes its tuple.
    #[must_use]
    pub const fn of_netfilter(now_ns: u64) -> Self {
        Self {
            src: Addr::ZERO,
            dst: Addr::ZERO,
            sport: 0,
            dport: 0,
            ifindex: 0,
            pool: 0,
            backend: 0,
            generation: 1,
            direction: direction::NETFILTER,
            flags: 0,
            client: seen::PACKET | seen::DATA,
            server: seen::PACKET,
            proof: 0,
            seen: units(now_ns),
        }
    }

    /// The key of the packets that come the other way: of a forward entry the key of its reverse
    /// entry, and the inverse.
    #[inline(always)]
    #[must_use]
    pub const fn reverse_key(&self, proto: u8) -> FlowKey {
        FlowKey {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            proto,
            pad: [0; 3],
        }
    }

    /// Was this forward entry's reverse entry looked at so recently that a packet that changes
    /// nothing can skip it? No other flow can take the tuple sooner than that: see
    /// [`State::keep_when_short`].
    #[inline(always)]
    #[must_use]
    pub const fn is_verified(&self, now_ns: u64) -> bool {
        let verified_ns = (self.seen as u64) << 32 | self.proof as u64;
        // A time of another CPU may lie a tick ahead, and then wraps to a large number.
        now_ns.wrapping_sub(verified_ns) < VERIFIED_NS
    }

    /// Notes in a forward entry that its reverse entry was verified now.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    pub const fn set_verified(&mut self, now_ns: u64) {
        self.seen = (now_ns >> 32) as u32;
        self.proof = now_ns as u32;
    }
}

#[cfg(test)]
mod testing {
    use super::*;

    /// A reply entry of a remote backend, whose sides have done nothing yet.
    pub(super) fn reply() -> Flow {
        Flow {
            src: Addr::v4([198, 18, 0, 1]),
            dst: Addr::v4([198, 18, 0, 2]),
            sport: 30080,
            dport: 4711,
            ifindex: 2,
            pool: 1,
            backend: 1,
            generation: 1,
            direction: direction::REPLY,
            flags: 0,
            client: 0,
            server: 0,
            proof: 0,
            seen: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reverse_key_turns_the_tuple_round() {
        let k = testing::reply().reverse_key(6);
        assert_eq!((k.sport, k.dport, k.proto), (4711, 30080, 6));
        assert_eq!(
            (k.src, k.dst),
            (Addr::v4([198, 18, 0, 2]), Addr::v4([198, 18, 0, 1]))
        );
    }

    #[test]
    fn a_verification_holds_for_a_while_and_not_from_the_future() {
        let mut forward = testing::reply();
        forward.set_verified(5_000_000_000);
        assert!(forward.is_verified(5_000_000_000));
        assert!(forward.is_verified(5_000_000_000 + VERIFIED_NS - 1));
        assert!(!forward.is_verified(5_000_000_000 + VERIFIED_NS));
        assert!(!forward.is_verified(4_999_999_999));
    }
}
