//! Why a packet or a connection was refused, dropped or let through unseen: one list for kernel,
//! metrics and CLI.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $n:literal, $name:literal;)+) => {
        /// Index into `lb_counters`. Numbers are never reused for another meaning.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant = $n,)+
        }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in metrics and in the CLI: lower case with underscores.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+)),+ }
            }
        }
    };
}

reasons! {
    /// A connect or sendmsg was given a backend, or sent to `lb0` to get one.
    SockTranslated = 0, "sock_translated";
    /// Refused on the socket path: the service has no endpoint.
    SockNoEndpoint = 1, "sock_no_endpoint";
    /// Unreachable on the socket path: a local-only policy and no local endpoint.
    SockNoLocalEndpoint = 2, "sock_no_local_endpoint";
    /// Refused on the socket path: a port that the VIP does not define.
    SockUnknownPort = 3, "sock_unknown_port";
    /// The socket was translated, but its record could not be kept (socket option memory):
    /// getpeername shows the backend.
    SockStorageFailed = 4, "sock_storage_failed";
    /// A slot of another service was read twice; the connection was refused, or the packet dropped.
    StaleSlot = 5, "stale_slot";
    /// A slot of another service was read once, and the second read was right.
    SlotRetried = 6, "slot_retried";
    /// An index that points nowhere: the maps contradict each other.
    BadIndex = 7, "bad_index";
    /// An answer to an unconnected socket could not be remembered: it will show the backend's
    /// address.
    UdpPeerFailed = 8, "udp_peer_failed";
    /// bind() to a node port in the host's namespace was refused.
    BindHeld = 9, "bind_held";
    /// A packet was given a backend and left for another node.
    PktForwarded = 10, "pkt_forwarded";
    /// A packet was given a backend on this node.
    PktLocal = 11, "pkt_local";
    /// A reply was translated back.
    PktReply = 12, "pkt_reply";
    /// Packet refused: the service has no endpoint.
    PktNoEndpoint = 13, "pkt_no_endpoint";
    /// Packet dropped: a local-only policy and no local endpoint.
    PktNoLocalEndpoint = 14, "pkt_no_local_endpoint";
    /// Packet for a port that the VIP does not define.
    PktUnknownPort = 15, "pkt_unknown_port";
    /// Packet dropped: its source is not in the load balancer's source ranges.
    PktSourceDenied = 16, "pkt_source_denied";
    /// Packet dropped: every port for this backend and client is taken.
    PktSnatExhausted = 17, "pkt_snat_exhausted";
    /// Packet dropped: it came to a port of our own range, and no flow is known for it.
    PktNoFlow = 18, "pkt_no_flow";
    /// Packet passed to the stack: too short, or headers that cannot be read.
    PktMalformed = 19, "pkt_malformed";
    /// Packet passed to the stack: a fragment of another protocol, a first one without its whole
    /// transport header, or a later one whose first one has not come.
    PktFragment = 20, "pkt_fragment";
    /// Packet dropped: no route to the backend or back to the client.
    PktNoRoute = 21, "pkt_no_route";
    /// Packet dropped: its time to live ended here.
    PktTtlExpired = 22, "pkt_ttl_expired";
    /// A flow record could not be written.
    FlowInsertFailed = 23, "flow_insert_failed";
    /// A flow lost one of its two records, and it was made again.
    FlowRepaired = 24, "flow_repaired";
    /// XDP left a packet to tc: neighbour unknown, another device, or encapsulation.
    XdpToTc = 25, "xdp_to_tc";
    /// The helper that writes the packet failed.
    PktWriteFailed = 26, "pkt_write_failed";
    /// The client's port was rewritten, since another connection had its reply tuple.
    PktPortRewritten = 27, "pkt_port_rewritten";
    /// An ICMP error was translated by the packet that it quotes.
    PktIcmpError = 28, "pkt_icmp_error";
    /// An affinity record named a backend that is no longer a member; another was chosen.
    AffinityMoved = 29, "affinity_moved";
    /// A new flow's record of an established kind was dropped by the kernel's LRU and found again
    /// by its tuple.
    FlowRechosen = 30, "flow_rechosen";
    /// Packet dropped: larger than what the way to the backend or to the client carries.
    PktTooBig = 31, "pkt_too_big";
    /// A VIP answered ping.
    PktEcho = 32, "pkt_echo";
    /// Packet dropped: it was routed to `lb0` as a service's address, and no Service has that
    /// address.
    PktUnallocated = 33, "pkt_unallocated";
    /// Packet for a VIP dropped: headers that cannot be read, or neither TCP, UDP, SCTP nor an echo
    /// request.
    PktVipUnread = 34, "pkt_vip_unread";
    /// Packet for a VIP dropped: a later fragment whose first one has not come.
    PktFragmentLost = 35, "pkt_fragment_lost";
    /// Packet dropped: no client has such a source (loopback, multicast, an address of this node or
    /// of a Service, one that no route leads to).
    PktMartian = 36, "pkt_martian";
    /// A direct connection to a backend got another source port, since a flow of a Service had its
    /// reply tuple.
    PktDirectMoved = 37, "pkt_direct_moved";
    /// A refusal was not sent: more are refused than the limit allows.
    PktRefusalLimited = 38, "pkt_refusal_limited";
    /// A client was not remembered for session affinity: the Service has as many records as it may.
    AffinityShareFull = 39, "affinity_share_full";
    /// A connection was reset on both sides: its backend has left the Service, or it is too old, and
    /// the Service wants that.
    PktReset = 40, "pkt_reset";
    /// Refused on the socket path: the socket is bound to loopback, `lb0`, which serves its node
    /// ports, is off, and its backend is on another machine or in a pod.
    SockLoopbackSource = 41, "sock_loopback_source";
    /// Packet for a VIP dropped: its socket chose `lb0` itself (`SO_BINDTODEVICE`), where backends
    /// would not see who it is.
    PktDeviceChosen = 42, "pkt_device_chosen";
    /// A backend was passed over: it had as many connections as its Service allows.
    BackendSpilled = 43, "backend_spilled";
    /// Refused on the socket path: each backend has as many connections as the Service allows.
    SockBackendsFull = 44, "sock_backends_full";
    /// Packet refused: each backend has as many connections as the Service allows.
    PktBackendsFull = 45, "pkt_backends_full";
    /// A connection left the endpoints that topology hints prefer: they have more than the Service's
    /// `lb-agent.io/spill` allows, or are full.
    TopologySpilled = 46, "topology_spilled";
}

impl Reason {
    /// Is a connection refused under it, or a packet dropped?
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::SockNoEndpoint
                | Self::SockNoLocalEndpoint
                | Self::SockUnknownPort
                | Self::StaleSlot
                | Self::BadIndex
                | Self::BindHeld
                | Self::PktNoEndpoint
                | Self::PktNoLocalEndpoint
                | Self::PktUnknownPort
                | Self::PktSourceDenied
                | Self::PktSnatExhausted
                | Self::PktNoFlow
                | Self::PktNoRoute
                | Self::PktTtlExpired
                | Self::PktWriteFailed
                | Self::PktTooBig
                | Self::PktUnallocated
                | Self::PktVipUnread
                | Self::PktFragmentLost
                | Self::PktMartian
                | Self::PktRefusalLimited
                | Self::PktReset
                | Self::SockLoopbackSource
                | Self::PktDeviceChosen
                | Self::SockBackendsFull
                | Self::PktBackendsFull
        )
    }
}

/// Entries of `lb_counters`: room to grow without a new map.
pub const REASONS: u32 = 64;

const _: () = assert!(Reason::ALL.len() <= REASONS as usize);

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn numbers_follow_the_order_and_names_are_unique() {
        for (n, r) in Reason::ALL.iter().enumerate() {
            assert_eq!(*r as usize, n);
            assert!(
                Reason::ALL[..n]
                    .iter()
                    .all(|other| other.name() != r.name())
            );
        }
    }
}
