//! Settings of the kernel's connection tracking.

use std::time::Duration;

/// The kernel's connection tracking: what it is to be set to. Absent and zero leave it as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Conntrack {
    /// Entries for each CPU.
    pub max_per_core: Option<u32>,
    /// Entries at least, if there is a `max_per_core`.
    pub min: Option<u32>,
    /// Packets out of a connection's window are not invalid.
    pub be_liberal: bool,
    /// TCP, established.
    pub tcp_established: Option<Duration>,
    /// TCP, in CLOSE_WAIT.
    pub tcp_close_wait: Option<Duration>,
    /// UDP with one packet.
    pub udp: Option<Duration>,
    /// UDP with answers.
    pub udp_stream: Option<Duration>,
}
