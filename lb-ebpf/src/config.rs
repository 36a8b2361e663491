//! Constants that the agent writes before the programs are loaded, and the kernel freezes: the
//! verifier prunes what they turn off. A new one is set in the agent's
//! `load/options.rs`.

use lb_common::{
    Addr, affinity,
    flow::{SNAT_PORTS, Timeouts},
    maps, refusal,
};

/// Reads a constant in a way that the compiler cannot fold, since the loader changes it.
macro_rules! rodata {
    ($($(#[doc = $doc:literal])+ $name:ident: $t:ty = $default:expr, $get:ident;)+) => {$(
        $(#[doc = $doc])+
        #[unsafe(no_mangle)]
        static $name: $t = $default;

        $(#[doc = $doc])+
        #[inline(always)]
        pub fn $get() -> $t {
            // SAFETY: an aligned, initialised static of a plain integer type, never written while
            // programs run.
            unsafe { core::ptr::read_volatile(&raw const $name) }
        }
    )+};
}

rodata! {
    /// Cookie of the network namespace of the host (SO_NETNS_COOKIE, Linux 5.14).
    HOST_NETNS_COOKIE: u64 = 0, host_netns_cookie;
    /// `--socket-lb`: 0 off, 1 only in the host's namespace, 2 all, 3 auto: all but those of
    /// namespaces in `lb_netns`.
    SOCKET_LB: u32 = 2, socket_lb;
    /// 1: sockets bound to a device (SO_BINDTODEVICE) are left alone.
    SKIP_BOUND_DEVICE: u32 = 1, skip_bound_device;
    /// 1: the kernel has MPTCP (`/proc/sys/net/mptcp`), so a connection may be asked for its peer
    /// on another socket.
    MPTCP: u32 = 1, mptcp;
    /// 1: bind() to a node port in the host's namespace is refused.
    BIND_HOLD: u32 = 1, bind_hold;
    /// Node ports answer the host's own sockets on loopback: 1 of IPv4, 2 of IPv6, 3 of both.
    LOOPBACK_PORTS: u32 = 3, loopback_ports;
    /// First port of our own range for rewritten sources, host order.
    SNAT_PORT_MIN: u32 = SNAT_PORTS.0 as u32, snat_port_min;
    /// Last port of that range, host order.
    SNAT_PORT_MAX: u32 = SNAT_PORTS.1 as u32, snat_port_max;
    /// Idle time of an established connection, in units (see [`lb_common::flow::units_of`]).
    TCP_ESTABLISHED: u32 = Timeouts::DEFAULT.established, tcp_established;
    /// Idle time of a connection that one side has finished, in units.
    TCP_CLOSE_WAIT: u32 = Timeouts::DEFAULT.close_wait, tcp_close_wait;
    /// Idle time of a UDP flow, in units.
    UDP_TIMEOUT: u32 = Timeouts::DEFAULT.udp, udp_timeout;
    /// Idle time of a UDP stream, in units.
    UDP_STREAM_TIMEOUT: u32 = Timeouts::DEFAULT.udp_stream, udp_stream_timeout;
    /// Refusals (ICMP errors and resets) that a CPU sends in a second at most; 0: no limit.
    REFUSALS_PER_SECOND: u32 = refusal::PER_SECOND, refusals_per_second;
    /// Mask of the network of IPv4 whose addresses are pods', the fourth word of an `Addr`, in the
    /// upper half; the network in the lower half, which is not zero where there is none.
    PODS_V4: u64 = 1, pods_v4;
    /// The same of IPv6: the mask.
    PODS_V6_MASK: [u32; 4] = [0; 4], pods_v6_mask;
    /// The network.
    PODS_V6: [u32; 4] = [1; 4], pods_v6;
    /// Affinity records of a pool before the agent has counted (see
    /// [`lb_common::affinity::first_share`]).
    AFFINITY_SHARE: u32 = affinity::first_share(maps::AFFINITY.capacity), affinity_share;
    /// 1: VIPs are routed to `lb0`, which is there.
    LB0: u32 = 0, lb0;
    /// Turns of an empty loop between the steps of a lookup, so that a test can have writers
    /// overtake readers; 0 outside of that test.
    TEST_DELAY: u32 = 0, test_delay;
    /// 0: the programs have no records for `lb-agent trace`, nor a switch for them.
    TRACE: u32 = 1, trace;
    /// 1: `bpf_fib_lookup` can tell the preferred source (BPF_FIB_LOOKUP_SRC, Linux 6.7).
    FIB_SRC: u32 = 0, fib_src;
}

/// Is this the address of a pod, by the networks that pods have?
#[inline(always)]
pub fn is_pod(addr: &Addr) -> bool {
    let w = addr.words();
    if addr.is_v4() {
        let pods = pods_v4();
        return w[3] & (pods >> 32) as u32 == pods as u32;
    }
    let (mask, net) = (pods_v6_mask(), pods_v6());
    let mut other = 0;
    let mut i = 0;
    while i < 4 {
        other |= (w[i] & mask[i]) ^ net[i];
        i += 1;
    }
    other == 0
}

/// The idle times that can be set.
#[inline(always)]
pub fn timeouts() -> Timeouts {
    Timeouts {
        established: tcp_established(),
        close_wait: tcp_close_wait(),
        udp: udp_timeout(),
        udp_stream: udp_stream_timeout(),
    }
}
