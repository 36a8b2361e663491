//! What services differ in.

use std::net::SocketAddr;

use super::{backend, backends, backends_v6, vip, vip_v6};

/// Endpoints of a large service: so many are the most that `lc` and `wlc` look at one by one.
pub(crate) const MANY: u32 = 64;
/// The first backend of large services, behind those of the few thousand others on their node.
const FIRST_OF_MANY: u32 = 16_384;
/// More connections than any run opens.
const LIMIT: u32 = 1_000_000;

/// What services differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Plain,
    Affinity,
    /// IPv6 alone.
    V6,
    Scheduler(&'static str),
    /// With [`MANY`] endpoints.
    Many(&'static str),
    /// With a limit of connections, which is not reached.
    Limited,
}

impl Class {
    /// That of service `i` of this class.
    pub(crate) fn vip(self, i: u32) -> SocketAddr {
        if self == Self::V6 { vip_v6(i) } else { vip(i) }
    }

    /// Those of service `i` of this class.
    pub(crate) fn backends(self, i: u32) -> Vec<SocketAddr> {
        match self {
            Self::V6 => backends_v6(i),
            Self::Many(_) => {
                let first = FIRST_OF_MANY + i * MANY;
                (first..first + MANY).map(backend).collect()
            }
            Self::Plain | Self::Affinity | Self::Scheduler(_) | Self::Limited => backends(i),
        }
    }

    /// What its Service is annotated with.
    pub(super) fn annotation(self) -> Option<String> {
        match self {
            Self::Scheduler(name) | Self::Many(name) => {
                Some(format!("lb-agent.io/scheduler: {name}"))
            }
            Self::Limited => Some(format!("lb-agent.io/max-connections: \"{LIMIT}\"")),
            Self::Plain | Self::Affinity | Self::V6 => None,
        }
    }
}
