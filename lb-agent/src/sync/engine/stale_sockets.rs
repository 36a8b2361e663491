//! Which connected UDP sockets have lost their backend. Owns the rule: a socket keeps its backend as long as that one
//! serves the Service that the socket's destination leads to; ready, policy, topology and terminating do not matter.

use lb_common::{
    Addr, Proto,
    frontend::{NodePortKey, VipKey, scope},
    sock::{SockRecord, kind},
};

use crate::plan::desired::Bits;

use super::Engine;
use crate::sync::mirror::backends::BackendKey;

/// What a connected UDP socket asked for, and what it got. The same for many sockets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pair {
    /// The destination that the application gave.
    pub vip: Addr,
    /// Host byte order.
    pub vip_port: u16,
    /// Where it was sent instead.
    pub backend: Addr,
    /// Host byte order.
    pub backend_port: u16,
}

impl Pair {
    /// Of a record; `None` for any other socket than a connected one of UDP.
    #[must_use]
    pub fn of(record: &SockRecord) -> Option<Self> {
        let ours = record.kind == kind::CONNECTED && record.proto == Proto::Udp.number();
        ours.then_some(Self {
            vip: record.vip,
            vip_port: record.vip_port,
            backend: record.backend,
            backend_port: record.backend_port,
        })
    }
}

impl Engine {
    /// Does this socket hold on to a backend that no longer serves it, as the maps stand? Never before everything is listed.
    #[must_use]
    pub fn is_stale(&self, pair: &Pair) -> bool {
        self.synced && !self.serves(pair)
    }

    /// By what stands there today, never by the numbers in the socket's record: those may be others' by now.
    fn serves(&self, pair: &Pair) -> bool {
        let Pair {
            vip,
            vip_port,
            backend,
            backend_port,
        } = *pair;
        let proto = Proto::Udp.number();
        let address = VipKey {
            addr: vip,
            port: vip_port,
            proto,
            scope: scope::INTERNAL,
        };
        let node_port = NodePortKey::new(&vip, vip_port, proto, scope::INTERNAL);
        let led = self.state.services.written(&address);
        let Some(led) = led.or_else(|| self.state.nodeports.written(&node_port)) else {
            return false;
        };
        let key = BackendKey {
            addr: backend,
            port: backend_port,
            proto,
        };
        let member = self.state.backends.find(&key).and_then(|id| {
            let pool = self.state.pools.get(&led.pool)?;
            pool.members.get(&id).copied()
        });
        member.is_some_and(|bits| bits.has(Bits::SERVING))
    }
}
