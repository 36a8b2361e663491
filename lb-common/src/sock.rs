//! What is remembered of a socket whose destination was translated. Owns the layout of `lb_sk` and
//! `lb_udp_peers`, which outlive upgrades: their layout is frozen, growth goes into the reserved
//! fields.

use crate::addr::Addr;

/// Value of `lb_sk` (`sk_storage`): the last translation of this socket. `lb_iter_sk` hands out
/// these same bytes, one record after another, for each socket whose [`SockRecord::kind`] is not
/// [`kind::NONE`].
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct SockRecord {
    /// What the application asked for.
    pub vip: Addr,
    /// What it got.
    pub backend: Addr,
    /// Host byte order.
    pub vip_port: u16,
    /// Host byte order.
    pub backend_port: u16,
    /// IANA protocol number.
    pub proto: u8,
    /// See [`kind`].
    pub kind: u8,
    /// 1 while this socket is counted in `lb_active` for `backend_id`.
    pub counted: u8,
    /// 1 once the owner of a TCP socket has closed it.
    pub closed: u8,
    /// Index into `lb_backends`; [`SockRecord::NO_BACKEND`] with [`kind::BY_LB0`].
    pub backend_id: u32,
    /// Index into `lb_pools`.
    pub pool: u32,
    /// Cookie of the socket that connected or sent. For MPTCP that is the first subflow, also in
    /// the copy of the record that the MPTCP socket gets for getpeername (never counted).
    pub cookie: u64,
    /// Cookie of its network namespace (SO_NETNS_COOKIE).
    pub netns: u64,
}

/// Numbers of [`SockRecord::kind`].
pub mod kind {
    /// Nothing translated: the record is cleared.
    pub const NONE: u8 = 0;
    /// By connect.
    pub const CONNECTED: u8 = 1;
    /// By the last sendmsg of an unconnected UDP socket.
    pub const UNCONNECTED: u8 = 2;
    /// By either, of a socket that is bound to loopback: its packets go to `lb0`, which balances
    /// them ([`crate::lb0::LOOPBACK_V4`]). Never counted; its flow is.
    pub const BY_LB0: u8 = 3;
}

impl SockRecord {
    /// Of a record without a backend.
    pub const NO_BACKEND: u32 = u32::MAX;

    /// Nothing translated.
    pub const CLEARED: Self = Self {
        vip: Addr::ZERO,
        backend: Addr::ZERO,
        vip_port: 0,
        backend_port: 0,
        proto: 0,
        kind: kind::NONE,
        counted: 0,
        closed: 0,
        backend_id: 0,
        pool: 0,
        cookie: 0,
        netns: 0,
    };
}

/// Key of `lb_udp_peers`: an answer from this backend to this socket.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct UdpPeerKey {
    /// Socket cookie.
    pub cookie: u64,
    /// The backend.
    pub addr: Addr,
    /// Host byte order.
    pub port: u16,
    /// Reserved, zero.
    pub pad: [u16; 3],
}

/// Value of `lb_udp_peers`: what recvmsg shows instead.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct UdpPeer {
    /// The VIP that the application sent to.
    pub addr: Addr,
    /// Host byte order.
    pub port: u16,
    /// Reserved, zero.
    pub pad: u16,
    /// Index into `lb_pools`.
    pub pool: u32,
    /// Index into `lb_backends`.
    pub backend_id: u32,
    /// Hash of the key: a reader that finds another one has read an element that the kernel gave
    /// to another key meanwhile.
    pub check: u32,
}

/// The one value of `lb_agent`: which process is the agent, and what all socket programs must know
/// at once.
///
/// The agent cannot know its process id as the kernel counts it (it may live in a pid namespace),
/// so it stores [`Agent::CLAIM`] and reads `lb_iter_sk` once to its end: the program that runs in
/// that read writes the two ids.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Agent {
    /// Process id in the initial pid namespace; sockets that it connects are never translated.
    pub tgid: u32,
    /// When the record of any socket was last lost, in [`Agent::loss_time`]; 0 for never. For a
    /// while after that, answers to unconnected sockets without a record are looked for in
    /// `lb_udp_peers` too. (Programs of versions that wrote 1 here read any number as "lost".)
    pub records_lost: u32,
    /// Id of its cgroup, so that a process that inherits the number after the agent's end is not
    /// taken for it.
    pub cgroup: u64,
}

impl Agent {
    /// A [`Agent::tgid`] that no process has: the next reader of `lb_iter_sk` is the agent.
    pub const CLAIM: u32 = u32::MAX;
    /// No agent.
    pub const NONE: Self = Self {
        tgid: 0,
        records_lost: 0,
        cgroup: 0,
    };

    /// A loss counts for this long, about 240 seconds: twice what the kernel's connection tracking
    /// grants an answered UDP flow. A socket that sends on without a record renews it each time.
    const LOSS_LASTS: u32 = 224;

    /// A time of the kernel's monotonic clock, nanoseconds, in units of 2^30 (1.07 seconds); never
    /// 0.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "142 years")]
    pub const fn loss_time(now_ns: u64) -> u32 {
        let units = (now_ns >> 30) as u32;
        if units == 0 { 1 } else { units }
    }

    /// Whether a record was lost recently. One that another CPU has lost since `now_ns` was read
    /// counts.
    #[must_use]
    #[inline(always)]
    pub const fn has_lost(records_lost: u32, now_ns: u64) -> bool {
        let age = Self::loss_time(now_ns)
            .wrapping_sub(records_lost)
            .cast_signed();
        records_lost != 0 && age < Self::LOSS_LASTS.cast_signed()
    }
}

const _: () = {
    assert!(size_of::<Agent>() == 16);
    assert!(size_of::<SockRecord>() == 64);
    assert!(size_of::<UdpPeerKey>() == 32);
    assert!(size_of::<UdpPeer>() == 32);
};

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_lost_record_counts_for_minutes_and_lapses() {
        let now = 5000 * SECOND;
        let lost = Agent::loss_time(now);
        assert!(Agent::has_lost(lost, now) && Agent::has_lost(lost, now + 200 * SECOND));
        assert!(!Agent::has_lost(lost, now + 300 * SECOND));
        // Another CPU was faster.
        assert!(Agent::has_lost(lost + 1, now));
        // The flag of earlier versions, and a loss in the first second.
        assert!(!Agent::has_lost(1, now) && Agent::has_lost(Agent::loss_time(0), SECOND));
        assert!(!Agent::has_lost(0, 0) && !Agent::has_lost(0, now));
    }
}
