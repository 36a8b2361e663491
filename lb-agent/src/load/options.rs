//! What the programs are loaded with: their constants, and the sizes of their maps.

use std::collections::BTreeMap;

use lb_common::{
    flow::{SNAT_PORTS, Timeouts},
    refusal,
};

use crate::settings::values::SocketLb;

/// What the programs are loaded with.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a constant of the programs"
)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// `--socket-lb`
    pub socket_lb: SocketLb,
    /// bind() to a node port in the host's namespace is refused.
    pub bind_hold: bool,
    /// Sockets bound to a device are left alone.
    pub skip_bound_device: bool,
    /// The kernel has MPTCP (see [`Features`](super::probe::Features)).
    pub mptcp: bool,
    /// Node ports answer the host's own sockets on loopback: of IPv4, and of IPv6.
    pub loopback_ports: [bool; 2],
    /// First and last port of the range for rewritten sources.
    pub snat_ports: (u16, u16),
    /// Refusals (ICMP errors and resets) that a CPU sends in a second at most; 0: no limit.
    pub refusals_per_second: u32,
    /// How long flows live.
    pub timeouts: Timeouts,
    /// `bpf_fib_lookup` returns the preferred source (see [`Features`](super::probe::Features)).
    pub fib_source: bool,
    /// `lb0` exists, so that VIPs can be routed to it.
    pub lb0: bool,
    /// Turns of an empty loop between the steps of a lookup: for the test in which writers
    /// overtake readers, else 0.
    pub test_delay: u32,
    /// `--map-capacity NAME=N`: entries by name of the map.
    pub capacities: BTreeMap<String, u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            socket_lb: SocketLb::default(),
            bind_hold: true,
            skip_bound_device: true,
            mptcp: true,
            loopback_ports: [true; 2],
            snat_ports: SNAT_PORTS,
            refusals_per_second: refusal::PER_SECOND,
            timeouts: Timeouts::DEFAULT,
            fib_source: false,
            lb0: false,
            test_delay: 0,
            capacities: BTreeMap::new(),
        }
    }
}

impl Options {
    /// The constants of the programs, by their names in `lb-ebpf/src/config.rs`.
    pub(super) fn constants(&self) -> [(&'static str, u32); 15] {
        let socket_lb = match self.socket_lb {
            SocketLb::Off => 0,
            SocketLb::Host => 1,
            SocketLb::All => 2,
        };
        let [v4, v6] = self.loopback_ports.map(u32::from);
        let (first, last) = self.snat_ports;
        [
            ("SOCKET_LB", socket_lb),
            ("BIND_HOLD", self.bind_hold.into()),
            ("SKIP_BOUND_DEVICE", self.skip_bound_device.into()),
            ("MPTCP", self.mptcp.into()),
            ("LOOPBACK_PORTS", v4 | v6 << 1),
            ("SNAT_PORT_MIN", first.into()),
            ("SNAT_PORT_MAX", last.into()),
            ("REFUSALS_PER_SECOND", self.refusals_per_second),
            ("TCP_ESTABLISHED", self.timeouts.established),
            ("TCP_CLOSE_WAIT", self.timeouts.close_wait),
            ("UDP_TIMEOUT", self.timeouts.udp),
            ("UDP_STREAM_TIMEOUT", self.timeouts.udp_stream),
            ("LB0", self.lb0.into()),
            ("TEST_DELAY", self.test_delay),
            ("FIB_SRC", self.fib_source.into()),
        ]
    }
}
