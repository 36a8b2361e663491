//! The part of a frontend that stands in the key.

use lb_common::{
    Addr,
    frontend::{NodePortKey, VipKey},
};

/// Which of the two tables of frontends a key is from; VIPs are listed first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum FaceKind {
    /// `lb_frontends`.
    Vip,
    /// `lb_nodeports`.
    NodePort,
}

/// What a client connects to, and from where.
pub(super) struct Face {
    pub(super) addr: Addr,
    pub(super) kind: FaceKind,
    pub(super) port: u16,
    pub(super) proto: u8,
    pub(super) scope: u8,
}

impl Face {
    pub(super) fn vip(k: VipKey) -> Self {
        let VipKey {
            addr,
            port,
            proto,
            scope,
        } = k;
        Self {
            addr,
            kind: FaceKind::Vip,
            port,
            proto,
            scope,
        }
    }

    pub(super) fn node_port(k: NodePortKey) -> Self {
        let NodePortKey {
            port,
            proto,
            scope,
            family,
            pad: _,
        } = k;
        let addr = if family == 4 {
            Addr::v4([0; 4])
        } else {
            Addr::ZERO
        };
        Self {
            addr,
            kind: FaceKind::NodePort,
            port,
            proto,
            scope,
        }
    }

    pub(super) fn address(&self) -> String {
        match (self.kind, self.addr.is_v4()) {
            (FaceKind::NodePort, true) => "*".to_owned(),
            (FaceKind::NodePort, false) => "[*]".to_owned(),
            (FaceKind::Vip, true) => self.addr.to_string(),
            (FaceKind::Vip, false) => format!("[{}]", self.addr),
        }
    }
}
