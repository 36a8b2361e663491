//! A backend of a frontend, as it is shown.

use std::net::IpAddr;

use lb_common::{
    Addr,
    backend::{Backend, flags},
    load::FlowCounts,
};
use serde::Serialize;

use crate::{
    inventory::Place,
    model::{BackendState, Eligibility},
};

/// A backend of a frontend.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Backend id.
    pub id: u32,
    /// Where it listens.
    pub address: String,
    /// Host byte order.
    pub port: u16,
    /// Relative; 0 gets nothing new.
    pub weight: u16,
    /// Connections open now, over all frontends: of sockets, and flows of the packet path.
    pub active_connections: u64,
    /// Flows of the packet path that are not open yet, or over and not forgotten.
    pub inactive_connections: u64,
    /// What it gets.
    pub state: BackendState,
    /// Runs on this node.
    pub local: bool,
    /// Where it runs.
    #[serde(flatten)]
    pub place: Place,
    #[serde(skip)]
    pub(super) order: Addr,
}

impl Member {
    /// A ready one of IPv4 on port 8080, with so many connections of sockets.
    #[cfg(test)]
    pub(crate) fn for_tests(id: u32, address: [u8; 4], sockets: u64) -> Self {
        let backend = Backend {
            addr: Addr::v4(address),
            port: 8080,
            ..Backend::FREE
        };
        let open = Open {
            sockets,
            ..Open::default()
        };
        member(id, backend, Eligibility::Eligible, 100, open)
    }

    /// Where it listens.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.order.into()
    }
}

/// What is open now to a backend.
#[derive(Clone, Copy, Default)]
pub(in crate::inventory) struct Open {
    /// Connections of sockets.
    pub(in crate::inventory) sockets: u64,
    /// Flows of the packet path.
    pub(in crate::inventory) flows: FlowCounts,
}

pub(in crate::inventory) fn member(
    id: u32,
    b: Backend,
    eligibility: Eligibility,
    weight: u16,
    open: Open,
) -> Member {
    let addr = b.addr;
    // Counts are a moment behind, and may be below zero for that long.
    let [sockets, active, inactive] = [
        open.sockets.cast_signed(),
        open.flows.active.into(),
        open.flows.inactive.into(),
    ]
    .map(|n: i64| u64::try_from(n).unwrap_or_default());
    Member {
        id,
        address: if addr.is_v4() {
            addr.to_string()
        } else {
            format!("[{addr}]")
        },
        port: b.port,
        weight: match eligibility {
            Eligibility::Eligible | Eligibility::Outside => weight,
            Eligibility::Draining => 0,
        },
        active_connections: sockets.saturating_add(active),
        inactive_connections: inactive,
        state: BackendState::of(b.state, eligibility),
        local: b.flags & flags::LOCAL != 0,
        place: Place::default(),
        order: addr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_below_zero_is_none() {
        let active = |sockets: i64| {
            Member::for_tests(1, [10, 244, 1, 7], sockets.cast_unsigned()).active_connections
        };
        assert_eq!([-1, 0, 3].map(active), [0, 0, 3]);
    }
}
