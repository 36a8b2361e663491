//! How long flows live, in kube-proxy's terms and with kube-proxy's defaults.

use std::time::Duration;

use lb_common::flow::{Timeouts, units_of};

use super::sysctl;
use crate::settings::values::Conntrack;

/// kube-proxy's default for established TCP.
const ESTABLISHED: Duration = Duration::from_hours(24);
/// kube-proxy's default for TCP that one side has closed.
const CLOSE_WAIT: Duration = Duration::from_hours(1);

/// A setting of the kernel, and what it is in a kernel that tracks no connections: the defaults of
/// `nf_conntrack_proto_tcp.c` and `nf_conntrack_proto_udp.c`, in seconds.
type Kernels = (&'static str, u32);

const KERNELS_ESTABLISHED: Kernels = ("nf_conntrack_tcp_timeout_established", 432_000);
const KERNELS_CLOSE_WAIT: Kernels = ("nf_conntrack_tcp_timeout_close_wait", 60);
const KERNELS_UDP: Kernels = ("nf_conntrack_udp_timeout", 30);
const KERNELS_UDP_STREAM: Kernels = ("nf_conntrack_udp_timeout_stream", 120);

/// What is asked for, and the kernel's where that is asked for.
#[must_use]
pub fn timeouts(asked: &Conntrack) -> Timeouts {
    resolve(asked, |name| {
        sysctl::number(&format!("net.netfilter.{name}"))
    })
}

fn resolve(asked: &Conntrack, kernel: impl Fn(&str) -> Option<u32>) -> Timeouts {
    let one = |asked: Option<Duration>, default: Duration, (name, usual): Kernels| {
        let asked = asked.unwrap_or(default);
        let seconds = if asked.is_zero() {
            kernel(name).unwrap_or(usual)
        } else {
            // A part of a second counts as one.
            let seconds = asked
                .as_secs()
                .saturating_add(u64::from(asked.subsec_nanos() > 0));
            u32::try_from(seconds).unwrap_or(u32::MAX)
        };
        units_of(seconds)
    };
    Timeouts {
        established: one(asked.tcp_established, ESTABLISHED, KERNELS_ESTABLISHED),
        close_wait: one(asked.tcp_close_wait, CLOSE_WAIT, KERNELS_CLOSE_WAIT),
        udp: one(asked.udp, Duration::ZERO, KERNELS_UDP),
        udp_stream: one(asked.udp_stream, Duration::ZERO, KERNELS_UDP_STREAM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_means_kube_proxys_defaults_and_the_kernels_for_udp() {
        let silent = resolve(&Conntrack::default(), |_| None);
        assert!(silent == Timeouts::DEFAULT);
        // The kernel's settings count for UDP alone.
        let set = resolve(&Conntrack::default(), |_| Some(7));
        assert_eq!(set.established, Timeouts::DEFAULT.established);
        assert_eq!(set.close_wait, Timeouts::DEFAULT.close_wait);
        assert_eq!((set.udp, set.udp_stream), (units_of(7), units_of(7)));
    }

    #[test]
    fn zero_is_the_kernels_and_anything_else_is_itself() {
        let zero = Conntrack {
            tcp_established: Some(Duration::ZERO),
            tcp_close_wait: Some(Duration::ZERO),
            ..Conntrack::default()
        };
        let kernels = |name: &str| name.contains("established").then_some(9);
        let of = resolve(&zero, kernels);
        assert_eq!(of.established, units_of(9));
        assert_eq!(
            of.close_wait,
            units_of(60),
            "the kernel has no such setting"
        );

        let given = Conntrack {
            tcp_established: Some(Duration::from_millis(100_001)),
            tcp_close_wait: Some(Duration::from_mins(2)),
            udp: Some(Duration::from_secs(10)),
            udp_stream: Some(Duration::MAX),
            ..Conntrack::default()
        };
        let of = resolve(&given, |_| Some(1));
        assert_eq!(of.established, units_of(101));
        assert_eq!(of.close_wait, units_of(120));
        assert_eq!(of.udp, units_of(10));
        assert_eq!(of.udp_stream, units_of(u32::MAX));
    }
}
