//! Node ports that are about to be written while connections go on that have the same number on
//! our side: what answers those must not be taken for clients' packets.

use std::collections::HashSet;

use tracing::{info, warn};

use crate::{
    maps::dir::BpfDir,
    model::{Event, Service},
    sync::Engine,
    takeover::foreign::{self, Matter},
};

/// The node ports of the next sync that no map holds yet.
pub(super) struct NewNodePorts {
    dir: BpfDir,
    /// Each with the number of its protocol.
    ports: HashSet<(u16, u8)>,
}

impl NewNodePorts {
    /// None.
    pub(super) fn new(dir: BpfDir) -> Self {
        Self {
            dir,
            ports: HashSet::new(),
        }
    }

    /// An event was received.
    pub(super) fn received(&mut self, event: &Event, engine: &Engine) {
        match event {
            Event::Service(service) => self.add(service, engine),
            Event::Services(all) => all.iter().for_each(|service| self.add(service, engine)),
            _ => {}
        }
    }

    fn add(&mut self, service: &Service, engine: &Engine) {
        for port in &service.ports {
            let Some(number) = port.node_port else {
                continue;
            };
            let (number, proto) = (number.get(), port.proto.number());
            if !engine.has_node_port(number, proto) {
                self.ports.insert((number, proto));
            }
        }
    }

    /// They are written now. The first ones of all are written at a takeover, which looks at every
    /// connection itself.
    pub(super) fn written(&mut self) {
        self.ports.clear();
    }

    /// They are about to be written.
    pub(super) fn learn(&mut self) {
        if self.ports.is_empty() {
            return;
        }
        let ports = std::mem::take(&mut self.ports);
        match foreign::learn(&self.dir, &Matter::Ports(ports)) {
            Ok(0) => {}
            Ok(connections) => info!(
                connections,
                "connections of this node and its pods have the numbers of new node ports"
            ),
            Err(error) => warn!(
                error = format!("{error:#}"),
                "connections that have the numbers of new node ports may break"
            ),
        }
    }
}
