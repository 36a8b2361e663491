//! Connections that the packet path translates: one entry a direction. Layout of `lb_flows`,
//! `lb_newflows` and `lb_snat_peers`. They outlive upgrades, so the layout is frozen; growth goes
//! into the reserved fields.

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
    /// `CLOCK_MONOTONIC`. In the reply entry: of a packet of either direction, about a second
    /// coarse. In the forward entry: of its last verification, when its reply entry was looked at
    /// (see [`Flow::is_verified`]).
    pub last_seen_ns: u64,
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
}

/// Bits of [`Flow::client`] and [`Flow::server`].
pub mod seen {
    /// A packet.
    pub const PACKET: u8 = 1;
    /// A TCP FIN; of SCTP a SHUTDOWN, or what answers it.
    pub const FIN: u8 = 1 << 1;
    /// A TCP RST; of SCTP an ABORT.
    pub const RST: u8 = 1 << 2;
    /// A TCP segment without SYN; of SCTP a packet without INIT and INIT ACK.
    pub const DATA: u8 = 1 << 3;
}

/// How long an entry is protected from another flow that wants its tuple, in nanoseconds. None is
/// longer than what `nf_conntrack` grants TCP and UDP by default, beside which the local backends'
/// flows live; SCTP, which has heartbeats, is kept as TCP is.
pub mod idle {
    const SECOND: u64 = 1_000_000_000;
    /// TCP and SCTP, a handshake that no reply has confirmed.
    pub const TCP_NEW: u64 = 60 * SECOND;
    /// TCP, open.
    pub const TCP: u64 = 24 * 3600 * SECOND;
    /// TCP, closed: the backend's TIME_WAIT.
    pub const TCP_CLOSED: u64 = 60 * SECOND;
    /// TCP, closed, when ports are short.
    pub const TCP_CLOSED_SHORT: u64 = 2 * SECOND;
    /// UDP without an answer.
    pub const UDP_NEW: u64 = 30 * SECOND;
    /// UDP with answers.
    pub const UDP: u64 = 120 * SECOND;
}

/// How the search for a port goes that asks for a flow's tuple.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FreePorts {
    /// It has just begun.
    Enough,
    /// Most tries are used up.
    Scarce,
}

/// How long the verification of a forward entry holds, in nanoseconds: some 134 ms. The clock is as
/// coarse as a tick.
pub const VERIFIED_NS: u64 = 1 << 27;

const _: () = {
    assert!(size_of::<FlowKey>() == 40);
    assert!(size_of::<Flow>() == 64);
    // A reply entry knows its last packet a second late.
    assert!(VERIFIED_NS + 1_000_000_000 < idle::TCP_CLOSED_SHORT);
};

impl Flow {
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
    /// [`Flow::keep_ns`].
    #[inline(always)]
    #[must_use]
    pub const fn is_verified(&self, now_ns: u64) -> bool {
        // A time of another CPU may lie a tick ahead, and then wraps to a large number.
        now_ns.wrapping_sub(self.last_seen_ns) < VERIFIED_NS
    }

    /// A connection that has ended: reset by either side, or finished by both. Asked of a reply
    /// entry.
    #[inline(always)]
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        (self.client | self.server) & seen::RST != 0 || (self.client & self.server & seen::FIN) != 0
    }

    /// After how many nanoseconds without a packet another flow may take this one's tuple. Asked of
    /// a reply entry.
    #[inline(always)]
    #[must_use]
    pub const fn keep_ns(&self, proto: u8, ports: FreePorts) -> u64 {
        let answered = self.server & seen::PACKET != 0;
        if !connects(proto) {
            return if answered { idle::UDP } else { idle::UDP_NEW };
        }
        if self.is_closed() {
            return match ports {
                FreePorts::Scarce => idle::TCP_CLOSED_SHORT,
                FreePorts::Enough => idle::TCP_CLOSED,
            };
        }
        if answered && self.client & seen::DATA != 0 {
            idle::TCP
        } else {
            idle::TCP_NEW
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(client: u8, server: u8) -> Flow {
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
            client,
            server,
            last_seen_ns: 0,
        }
    }

    #[test]
    fn a_reverse_key_turns_the_tuple_round() {
        let k = reply(0, 0).reverse_key(6);
        assert_eq!((k.sport, k.dport, k.proto), (4711, 30080, 6));
        assert_eq!(
            (k.src, k.dst),
            (Addr::v4([198, 18, 0, 2]), Addr::v4([198, 18, 0, 1]))
        );
    }

    #[test]
    fn a_verification_holds_for_a_while_and_not_from_the_future() {
        let mut forward = reply(0, 0);
        forward.last_seen_ns = 5_000_000_000;
        assert!(forward.is_verified(5_000_000_000));
        assert!(forward.is_verified(5_000_000_000 + VERIFIED_NS - 1));
        assert!(!forward.is_verified(5_000_000_000 + VERIFIED_NS));
        assert!(!forward.is_verified(4_999_999_999));
    }

    #[test]
    fn tcp_is_closed_by_one_reset_or_two_fins() {
        assert!(!reply(seen::FIN, seen::PACKET).is_closed());
        assert!(!reply(seen::PACKET, seen::FIN).is_closed());
        assert!(reply(seen::FIN, seen::FIN).is_closed());
        assert!(reply(seen::RST, 0).is_closed() && reply(0, seen::RST).is_closed());
    }

    #[test]
    fn an_open_connection_is_kept_longest_and_a_closed_one_gives_way_when_ports_are_short() {
        let open = reply(seen::PACKET | seen::DATA, seen::PACKET);
        assert_eq!(open.keep_ns(6, FreePorts::Scarce), idle::TCP);
        assert_eq!(
            reply(seen::PACKET, seen::PACKET).keep_ns(6, FreePorts::Scarce),
            idle::TCP_NEW
        );
        let closed = reply(seen::FIN, seen::FIN);
        assert_eq!(closed.keep_ns(6, FreePorts::Enough), idle::TCP_CLOSED);
        assert_eq!(closed.keep_ns(6, FreePorts::Scarce), idle::TCP_CLOSED_SHORT);
        assert_eq!(
            reply(seen::PACKET, 0).keep_ns(17, FreePorts::Scarce),
            idle::UDP_NEW
        );
        assert_eq!(open.keep_ns(17, FreePorts::Scarce), idle::UDP);
    }
}
