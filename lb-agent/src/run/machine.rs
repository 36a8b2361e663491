//! This machine as netlink shows it, and on which of its addresses node ports answer.

use std::net::IpAddr;

use tracing::debug;

use super::{node_ports, ports::Answers};
use crate::{
    model::{Cluster, Event},
    node,
    serve::checks::Listen,
    settings::values::NodePortAddress,
};

/// What is known of this machine.
pub(super) struct Machine {
    /// `--node-port-addresses`
    words: Vec<NodePortAddress>,
    /// See [`crate::settings::Config::node_ip`].
    node_ip: Option<IpAddr>,
    state: Option<node::State>,
    /// The addresses that node ports answer on, as the engine knows them.
    addresses: Option<Vec<(IpAddr, u32)>>,
}

/// Node ports answer on other addresses than before.
pub(super) struct NewAddresses {
    /// Each with the index of its interface.
    pub(super) addresses: Vec<(IpAddr, u32)>,
    /// Where health checks listen now.
    pub(super) listen: Listen,
}

impl Machine {
    /// Nothing is known yet.
    pub(super) fn new(words: Vec<NodePortAddress>, node_ip: Option<IpAddr>) -> Self {
        Self {
            words,
            node_ip,
            state: None,
            addresses: None,
        }
    }

    /// The last state; `None` until netlink has shown one.
    pub(super) fn state(&self) -> Option<&node::State> {
        self.state.as_ref()
    }

    /// Which addresses node ports are to answer on.
    pub(super) fn words(&self) -> &[NodePortAddress] {
        &self.words
    }

    /// Takes in a new state; returns the event for the model.
    pub(super) fn update(&mut self, state: node::State) -> Event {
        let event = Event::Machine(state.machine.clone());
        self.state = Some(state);
        event
    }

    /// Where node ports answer; `None` while it is not known.
    pub(super) fn answers(&self) -> Option<Answers<'_>> {
        Some(Answers {
            addresses: self.addresses.as_deref()?,
            loopback: node_ports::on_loopback(&self.words),
        })
    }

    /// The addresses that node ports answer on, if they are known and new.
    pub(super) fn new_addresses(&mut self, cluster: &Cluster) -> Option<NewAddresses> {
        let state = self.state.as_ref()?;
        let addresses =
            node_ports::addresses(&self.words, self.node_ip, cluster, &state.addresses)?;
        if self.addresses.as_ref() == Some(&addresses) {
            return None;
        }
        debug!(?addresses, "node ports answer on");
        self.addresses = Some(addresses.clone());
        Some(NewAddresses {
            listen: node_ports::listen(&self.words, &addresses),
            addresses,
        })
    }
}
