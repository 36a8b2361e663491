//! What the programs are loaded with: their constants, and the sizes of their maps.

use std::collections::BTreeMap;

use lb_common::{
    Addr,
    affinity::first_share,
    flow::{SNAT_PORTS, Timeouts},
    maps, refusal,
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
    /// Some device is named by `--attach-xdp`.
    pub xdp: bool,
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
    /// The networks of pods, one a family at most: an address, and the length of the prefix counted
    /// in the 128 bits of an [`Addr`].
    pub pods: Vec<(Addr, u8)>,
    /// The programs have records for `lb-agent trace`, and the switch that turns them on.
    pub trace: bool,
    /// `lb0` exists, so that VIPs can be routed to it.
    pub lb0: bool,
    /// It may come later (`--lb0 on`, and its name is another device's now).
    pub lb0_may_come: bool,
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
            xdp: true,
            skip_bound_device: true,
            mptcp: true,
            loopback_ports: [true; 2],
            snat_ports: SNAT_PORTS,
            refusals_per_second: refusal::PER_SECOND,
            timeouts: Timeouts::DEFAULT,
            fib_source: false,
            pods: Vec::new(),
            trace: true,
            lb0: false,
            lb0_may_come: false,
            test_delay: 0,
            capacities: BTreeMap::new(),
        }
    }
}

impl Options {
    /// The constants of the programs, by their names in `lb-ebpf/src/config.rs`.
    pub(super) fn constants(&self) -> [(&'static str, u32); 17] {
        let socket_lb = match self.socket_lb {
            SocketLb::Off => 0,
            SocketLb::Host => 1,
            SocketLb::All => 2,
            SocketLb::Auto => 3,
        };
        let [v4, v6] = self.loopback_ports.map(u32::from);
        let (first, last) = self.snat_ports;
        let affinity = self.capacities.get(maps::AFFINITY.name).copied();
        let affinity = first_share(affinity.unwrap_or(maps::AFFINITY.capacity));
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
            ("AFFINITY_SHARE", affinity),
            ("LB0", self.lb0.into()),
            ("TRACE", self.trace.into()),
            ("TEST_DELAY", self.test_delay),
            ("FIB_SRC", self.fib_source.into()),
        ]
    }

    /// The networks of pods as the programs compare them.
    pub(super) fn pods(&self) -> Pods {
        let mut pods = Pods::default();
        for (addr, prefix) in &self.pods {
            let mask = mask(*prefix);
            let net: [u32; 4] = std::array::from_fn(|i| mask[i] & addr.words()[i]);
            if addr.is_v4() {
                pods.v4 = u64::from(mask[3]) << 32 | u64::from(net[3]);
            } else {
                (pods.v6_mask, pods.v6) = (mask, net);
            }
        }
        pods
    }
}

/// `PODS_V4`, `PODS_V6_MASK` and `PODS_V6` of `lb-ebpf/src/config.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pods {
    pub(super) v4: u64,
    pub(super) v6_mask: [u32; 4],
    pub(super) v6: [u32; 4],
}

impl Default for Pods {
    /// No address.
    fn default() -> Self {
        Self {
            v4: 1,
            v6_mask: [0; 4],
            v6: [1; 4],
        }
    }
}

/// As the words of an [`Addr`].
fn mask(prefix: u8) -> [u32; 4] {
    let bits = u128::MAX.checked_shl(128 - u32::from(prefix));
    let b = bits.unwrap_or_default().to_be_bytes();
    Addr { b }.words()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_networks_of_pods_are_masks_and_words_of_addresses() {
        let options = |nets: &[(Addr, u8)]| Options {
            pods: nets.to_vec(),
            ..Options::default()
        };
        let word = |ip: [u8; 4]| u64::from(u32::from_ne_bytes(ip));
        let v6 = Addr::from_words([u32::from_ne_bytes([0xfd, 0x66, 2, 0x44]), 0, 0, 1]);
        assert_eq!(options(&[]).pods(), Pods::default());
        let pods = options(&[(Addr::v4([10, 244, 7, 9]), 96 + 16), (v6, 48)]).pods();
        assert_eq!(
            pods.v4,
            word([255, 255, 0, 0]) << 32 | word([10, 244, 0, 0])
        );
        let all = u32::MAX;
        let half = u32::from_ne_bytes([255, 255, 0, 0]);
        assert_eq!(pods.v6_mask, [all, half, 0, 0]);
        assert_eq!(pods.v6[0], u32::from_ne_bytes([0xfd, 0x66, 2, 0x44]));
        assert_eq!(
            options(&[(Addr::v4([0; 4]), 96)]).pods().v4,
            0,
            "every address"
        );
        assert_eq!(options(&[(Addr::ZERO, 0)]).pods().v6, [0; 4]);
    }
}
