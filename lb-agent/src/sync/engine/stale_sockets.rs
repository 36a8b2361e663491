//! Which connected sockets have lost their backend. A UDP socket keeps its backend as long as that
//! one serves the Service that the socket's destination leads to; readiness, policy, topology and
//! termination do not matter. A TCP socket keeps it in any case, unless the Service's removal policy
//! resets connections: then as long as the backend is a member of the pool that gave it to the socket,
//! also one that was let go of. Where the destination leads to another pool by now, the socket keeps
//! it, as flows of packets do: another Service's policy is not its own. Likewise with the greatest age
//! of connections.

use lb_common::{
    Addr, Proto,
    flow::AgeLimit,
    frontend::{NodePortKey, VipKey, scope},
    sock::{SockRecord, kind},
};

use super::Engine;
use crate::{
    plan::{FrontendKey, desired::MemberFlags},
    sync::mirror::BackendKey,
};

/// The destination of a connected socket and the backend that it was given. Many sockets may share
/// one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Association {
    /// IANA number: TCP or UDP.
    pub proto: u8,
    /// The destination that the client connected to.
    pub vip: Addr,
    /// Host byte order.
    pub vip_port: u16,
    /// The backend that serves it instead.
    pub backend: Addr,
    /// Host byte order.
    pub backend_port: u16,
    /// The pool that gave it the backend: an index that may be another Service's by now.
    pub pool: u32,
}

impl Association {
    /// From a socket's record; `None` if it is not connected.
    #[must_use]
    pub fn of(record: &SockRecord) -> Option<Self> {
        (record.kind == kind::CONNECTED).then_some(Self {
            proto: record.proto,
            vip: record.vip,
            vip_port: record.vip_port,
            backend: record.backend,
            backend_port: record.backend_port,
            pool: record.pool,
        })
    }

    /// Is it of UDP?
    #[must_use]
    pub fn is_udp(&self) -> bool {
        self.proto == Proto::Udp.number()
    }
}

impl Engine {
    /// Does the removal policy of any Service reset connections? Else no TCP socket is stale.
    #[must_use]
    pub fn resets(&self) -> bool {
        !self.resetting.is_empty()
    }

    /// Has any Service a limit to the age of connections?
    #[must_use]
    pub fn ages(&self) -> bool {
        !self.aging.is_empty()
    }

    /// How old may this socket become, according to the maps? Any age where its destination leads to
    /// another pool by now than the one that gave it its backend.
    #[must_use]
    pub fn age_limit(&self, association: &Association) -> AgeLimit {
        let given_by = association.pool;
        if association.is_udp() || self.target(association) != Some(given_by) {
            return AgeLimit::NONE;
        }
        let pool = self.mirror.pool(given_by);
        pool.map_or(AgeLimit::NONE, |pool| AgeLimit::of(pool.entry()))
    }

    /// The pool that the socket's destination leads to.
    fn target(&self, association: &Association) -> Option<u32> {
        let address = VipKey {
            addr: association.vip,
            port: association.vip_port,
            proto: association.proto,
            scope: scope::INTERNAL,
        };
        let VipKey {
            addr,
            port,
            proto,
            scope,
        } = address;
        let node_port = NodePortKey::new(&addr, port, proto, scope);
        let target = self.mirror.target(&FrontendKey::Address(address));
        target.or_else(|| self.mirror.target(&FrontendKey::NodePort(node_port)))
    }

    /// Does this socket use a backend that no longer serves it, according to the maps? Never before
    /// everything is listed.
    #[must_use]
    pub fn is_stale(&self, association: &Association) -> bool {
        self.synced && !self.serves(association)
    }

    /// Looks at what the maps hold today, never by the ids in the socket's record alone: they may
    /// belong to others by now.
    fn serves(&self, association: &Association) -> bool {
        let Association {
            proto,
            vip: _,
            vip_port: _,
            backend,
            backend_port,
            pool: given_by,
        } = *association;
        let target = self.target(association);
        if !association.is_udp() && target != Some(given_by) {
            // The policy of a TCP socket has gone with its pool.
            return true;
        }
        let Some(pool) = target.and_then(|index| self.mirror.pool(index)) else {
            return false;
        };
        if !association.is_udp() && !pool.resets() {
            return true;
        }
        let key = BackendKey {
            addr: backend,
            port: backend_port,
            proto,
        };
        let id = self.mirror.backends().find(&key);
        let member = id.and_then(|id| pool.members().get(&id));
        member.is_some_and(|flags| !association.is_udp() || flags.has(MemberFlags::SERVING))
    }
}
