//! Settings of connection tracking: the kernel's own, and the times of our flows, which follow it.

use std::time::Duration;

/// What the kernel's connection tracking is to be set to, and how long flows live. Where a field is
/// absent, the kernel's is left as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Conntrack {
    /// Entries for each CPU.
    pub max_per_core: Option<u32>,
    /// Entries at least, if there is a `max_per_core`.
    pub min: Option<u32>,
    /// Packets out of a connection's window are not invalid.
    pub be_liberal: bool,
    /// TCP, established. Zero: flows have the kernel's.
    pub tcp_established: Option<Duration>,
    /// TCP, in CLOSE_WAIT. Zero: flows have the kernel's.
    pub tcp_close_wait: Option<Duration>,
    /// UDP with one packet. Absent or zero: flows have the kernel's.
    pub udp: Option<Duration>,
    /// UDP with answers. Absent or zero: flows have the kernel's.
    pub udp_stream: Option<Duration>,
}

impl Conntrack {
    /// Takes each field from `self`, and from `other` where `self` has none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            max_per_core: self.max_per_core.or(other.max_per_core),
            min: self.min.or(other.min),
            be_liberal: self.be_liberal || other.be_liberal,
            tcp_established: self.tcp_established.or(other.tcp_established),
            tcp_close_wait: self.tcp_close_wait.or(other.tcp_close_wait),
            udp: self.udp.or(other.udp),
            udp_stream: self.udp_stream.or(other.udp_stream),
        }
    }
}
