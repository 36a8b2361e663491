//! What `lb-agent trace` and the programs agree on: the record of a decision, and what is asked for.

use crate::{Reason, addr::Addr};

/// Where a decision is made.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Hook {
    /// connect()
    Connect = 0,
    /// sendto() and sendmsg() with an address, of UDP.
    Sendmsg = 1,
    /// bind()
    Bind = 2,
    /// XDP of a device.
    Xdp = 3,
    /// tc, packets that come in on a node device.
    TcIngress = 4,
    /// tc, packets that leave by a node device.
    TcEgress = 5,
    /// tc, packets for VIPs that leave by `lb0`.
    Lb0Out = 6,
    /// tc, what answers them.
    Lb0Back = 7,
}

impl Hook {
    /// Every hook, in the order of its number.
    pub const ALL: &'static [Self] = &[
        Self::Connect,
        Self::Sendmsg,
        Self::Bind,
        Self::Xdp,
        Self::TcIngress,
        Self::TcEgress,
        Self::Lb0Out,
        Self::Lb0Back,
    ];

    /// The name in the CLI: lower case with underscores.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Sendmsg => "sendmsg",
            Self::Bind => "bind",
            Self::Xdp => "xdp",
            Self::TcIngress => "tc_ingress",
            Self::TcEgress => "tc_egress",
            Self::Lb0Out => "lb0_out",
            Self::Lb0Back => "lb0_back",
        }
    }

    /// Is it a hook of sockets rather than of packets?
    #[must_use]
    pub const fn is_socket(self) -> bool {
        matches!(self, Self::Connect | Self::Sendmsg | Self::Bind)
    }
}

/// A set of reasons, each a bit by its number.
pub mod set {
    use super::Reason;

    /// The set of these.
    #[must_use]
    pub const fn of(reasons: &[Reason]) -> u64 {
        let mut set = 0;
        let mut i = 0;
        while i < reasons.len() {
            set |= 1 << reasons[i] as u32;
            i += 1;
        }
        set
    }

    /// Those under which something is refused or dropped.
    pub const REFUSALS: u64 = {
        let mut set = 0;
        let mut i = 0;
        while i < Reason::ALL.len() {
            if Reason::ALL[i].is_refusal() {
                set |= 1 << i;
            }
            i += 1;
        }
        set
    };

    /// Those of a port, or an address, that no Service has.
    pub const UNKNOWN_PORTS: u64 = of(&[
        Reason::SockUnknownPort,
        Reason::PktUnknownPort,
        Reason::PktUnallocated,
    ]);

    /// Those that are found before a backend is chosen: what the packet becomes has no meaning then.
    pub const WITHOUT_BACKEND: u64 = of(&[
        Reason::PktNoEndpoint,
        Reason::PktNoLocalEndpoint,
        Reason::PktUnknownPort,
        Reason::PktSourceDenied,
        Reason::PktNoFlow,
        Reason::PktUnallocated,
        Reason::PktMartian,
        Reason::PktVipUnread,
        Reason::PktDeviceChosen,
    ]);
}

/// The reasons that a program of sockets counts.
pub const OF_SOCKETS: &[Reason] = &[
    Reason::SockTranslated,
    Reason::SockNoEndpoint,
    Reason::SockNoLocalEndpoint,
    Reason::SockUnknownPort,
    Reason::SockStorageFailed,
    Reason::StaleSlot,
    Reason::SlotRetried,
    Reason::BadIndex,
    Reason::UdpPeerFailed,
    Reason::BindHeld,
    Reason::AffinityMoved,
    Reason::AffinityShareFull,
    Reason::SockLoopbackSource,
    Reason::BackendSpilled,
    Reason::SockBackendsFull,
    Reason::TopologySpilled,
];

/// One decision: what goes through the ring buffer.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Decision {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// What was counted, a bit for each [`Reason`].
    pub reasons: u64,
    /// Of a socket: the cookie of its network namespace (`SO_NETNS_COOKIE`); else 0.
    pub netns: u64,
    /// Of a socket: the id of the cgroup of the process; else 0.
    pub cgroup: u64,
    /// [`Addr::ZERO`]: not known. A socket that connects has no address yet.
    pub client: Addr,
    /// What the client named; [`Addr::ZERO`]: a packet whose headers were not read.
    pub vip: Addr,
    /// [`Addr::ZERO`]: none was chosen.
    pub backend: Addr,
    /// Host byte order, as the two below.
    pub client_port: u16,
    /// Of the VIP.
    pub vip_port: u16,
    /// Of the backend.
    pub backend_port: u16,
    /// IANA protocol number; 0 where the headers were not read.
    pub proto: u8,
    /// See [`Hook`].
    pub hook: u8,
    /// Index into `lb_pools`, or [`NONE`](crate::flow::NONE).
    pub pool: u32,
    /// Index into `lb_backends`, or [`NONE`](crate::flow::NONE).
    pub backend_id: u32,
    /// The CPU that the program ran on.
    pub cpu: u32,
    /// Of a socket: its process, as the initial namespace counts; else 0.
    pub pid: u32,
    /// What the program returned.
    pub verdict: i32,
    /// 1: of the backend's side, on its way back to the client.
    pub reply: u8,
    /// Reserved, zero.
    pub pad: [u8; 3],
    /// Of a socket: the name of the process.
    pub comm: [u8; 16],
}

/// Value of `lb_tr_filter`: what is asked for.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug, Default))]
pub struct Filter {
    /// Bits of reasons, of which one at least was counted.
    pub reasons: u64,
    /// Bits of hooks, by their numbers.
    pub hooks: u32,
    /// See [`only`].
    pub flags: u32,
    /// Records a second at most; 0: no limit.
    pub limit: u32,
    /// Of the backend, host byte order; 0: any.
    pub backend_port: u32,
    /// Another number, never 0, for each process that traces and each time it turns the switch on
    /// again: what the programs noted of a run that the end of another session cut short does not
    /// count.
    pub session: u32,
    /// Reserved, zero.
    pub pad: u32,
}

/// Values of `lb_tr_vips` for a whole address, which has port and protocol 0.
pub mod whole {
    /// Ports of it that no Service has.
    pub const UNKNOWN_PORTS: u32 = 1;
    /// Everything.
    pub const ALL: u32 = 2;
}

/// Bits of [`Filter::flags`].
pub mod only {
    /// Frontends in `lb_tr_vips`.
    pub const VIPS: u32 = 1;
    /// Clients in `lb_tr_clients`, sockets of network namespaces in `lb_tr_netns`.
    pub const CLIENTS: u32 = 1 << 1;
    /// Backends in `lb_tr_backends`.
    pub const BACKENDS: u32 = 1 << 2;
}

/// What became of decisions that passed the filter.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug, Default))]
pub struct Rate {
    /// When the current second began, `CLOCK_MONOTONIC`.
    pub second_ns: u64,
    /// Records in it.
    pub count: u64,
    /// Left out since they were more than the limit, ever.
    pub limited: u64,
    /// Left out since the buffer was full, ever.
    pub full: u64,
}

/// How long the switch stays on after it was set last, in nanoseconds. Whoever traces sets it once a
/// second; the first program that finds it late turns it off.
pub const LASTS_NS: u64 = 4_000_000_000;

/// Bytes of the ring buffer: some 1,900 records, a power of two and a multiple of a page.
pub const RING: u32 = 1 << 18;

const _: () = {
    assert!(size_of::<Decision>() == 128);
    assert!(Reason::ALL.len() <= 64);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_in_the_order_of_their_numbers() {
        for (n, hook) in Hook::ALL.iter().enumerate() {
            assert_eq!(*hook as usize, n);
        }
    }

    #[test]
    fn every_reason_of_the_socket_path_is_shown_of_sockets() {
        for reason in Reason::ALL {
            if reason.name().starts_with("sock_") {
                assert!(OF_SOCKETS.contains(reason), "{}", reason.name());
            }
        }
    }

    #[test]
    fn a_drop_and_a_refusal_are_refusals_and_what_goes_on_is_none() {
        for reason in Reason::ALL {
            let help = reason.help().trim();
            let first = help.split([':', ';']).next().unwrap();
            let says = first.starts_with("Packet dropped")
                || first.starts_with("Packet refused")
                || first.starts_with("Refused")
                || first.starts_with("Unreachable")
                || first.ends_with("dropped")
                || first.starts_with("Packet for a VIP dropped")
                || first.ends_with("was refused");
            if says {
                assert!(reason.is_refusal(), "{}", reason.name());
            }
            let goes_on = help.starts_with("Packet passed")
                || help.contains("was given a backend")
                || help.contains("was translated");
            if goes_on {
                assert!(!reason.is_refusal(), "{}", reason.name());
            }
            assert_eq!(
                set::REFUSALS >> *reason as u32 & 1 == 1,
                reason.is_refusal()
            );
        }
    }
}
