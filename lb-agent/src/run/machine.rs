//! This machine as netlink shows it, and on which of its addresses node ports answer.

use std::{collections::BTreeSet, io, net::IpAddr, sync::Arc};

use tracing::debug;

use super::{
    held::{self, Held},
    node_ports,
    ports::Answers,
};
use crate::{
    model::{self, Cluster, Device, Event, Service, Slice, Unwatched},
    node,
    serve::checks::Listen,
    settings::{
        Config,
        values::{Devices, NodePortAddress},
    },
    sockets::listeners::Listener,
};

/// What is known of this machine.
pub(super) struct Machine {
    /// `--node-port-addresses`
    words: Vec<NodePortAddress>,
    /// See [`crate::settings::Config::node_ip`].
    node_ip: Option<IpAddr>,
    /// This node: endpoints that name another one are of other nodes.
    node_name: Arc<str>,
    /// `--devices auto`
    auto: bool,
    state: Option<node::State>,
    /// Indices of devices that are no node devices by themselves, and that endpoints of other nodes
    /// are routed over.
    leading: BTreeSet<u32>,
    /// The addresses that node ports answer on, as the engine knows them.
    addresses: Option<Vec<(IpAddr, u32)>>,
    held: Held,
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
    pub(super) fn new(config: &Config) -> Self {
        Self {
            words: config.node_port_addresses.clone(),
            node_ip: config.node_ip,
            node_name: config.node_name.as_str().into(),
            auto: config.devices == Devices::Auto,
            state: None,
            leading: BTreeSet::new(),
            addresses: None,
            held: Held::default(),
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
    pub(super) fn update(&mut self, state: node::State, cluster: &Cluster) -> Event {
        self.state = Some(state);
        self.look_at_held(cluster);
        self.event()
    }

    /// Has the sockets listed that may serve cluster IPs which this machine has itself.
    pub(super) fn list_held(&mut self) {
        self.held.list();
    }

    /// The sockets, once they are listed.
    pub(super) async fn listed(&mut self) -> io::Result<Vec<Listener>> {
        self.held.listed().await
    }

    /// Takes in the sockets; returns an event if other ports are served than before.
    pub(super) fn take_listed(
        &mut self,
        found: io::Result<Vec<Listener>>,
        cluster: &Cluster,
    ) -> Option<Event> {
        let holders = self.state.as_ref().map_or(&[][..], |s| &s.holders);
        self.held
            .take(found, holders, cluster)
            .then(|| self.event())
    }

    /// Looks at once which cluster IPs this machine has itself and which of their ports a process
    /// serves; returns an event if that has changed.
    pub(super) fn look_at_held(&mut self, cluster: &Cluster) -> Option<Event> {
        let holders = self.state.as_ref().map_or(&[][..], |s| &s.holders);
        self.held.look(holders, cluster).then(|| self.event())
    }

    /// Cluster IPs that this machine has itself.
    pub(super) fn held(&self) -> &Held {
        &self.held
    }

    /// Is it about a Service whose cluster IP this machine has itself?
    pub(super) fn holds_one_of(&self, event: &Event) -> bool {
        let Some(state) = &self.state else {
            return false;
        };
        let is_own = |service: &Service| {
            let mut ips = service.cluster_ips.iter();
            ips.any(|ip| held::holder(&state.holders, ip).is_some())
        };
        match event {
            Event::Service(service) => is_own(service),
            Event::Services(all) => all.iter().any(is_own),
            _ => false,
        }
    }

    fn event(&self) -> Event {
        let machine = self.state.as_ref().map(|state| model::Machine {
            listening: self.held.listening().to_vec(),
            ..state.machine.clone()
        });
        Event::Machine(machine.unwrap_or_default())
    }

    /// Where node ports answer; `None` while it is not known.
    pub(super) fn answers(&self) -> Option<Answers<'_>> {
        Some(Answers {
            addresses: self.addresses.as_deref()?,
            loopback: node_ports::on_loopback(&self.words),
        })
    }

    /// The node devices; with `--devices auto` also those that endpoints of other nodes are routed
    /// over. `None` until netlink has shown a state.
    pub(super) fn devices(&self) -> Option<Vec<Device>> {
        let mut devices = self.state.as_ref()?.devices.clone();
        if self.auto {
            devices.extend(self.leading().map(|device| Device {
                pods: true,
                ..device.clone()
            }));
            devices.sort_unstable();
        }
        Some(devices)
    }

    /// Devices that endpoints of other nodes are routed over, and that a list of names leaves out.
    pub(super) fn left_out(&self) -> Vec<String> {
        let leading = self.leading().filter(|_| !self.auto);
        leading.map(|device| device.name.clone()).collect()
    }

    fn leading(&self) -> impl Iterator<Item = &Device> {
        let unwatched = self.state.iter().flat_map(|state| &state.others);
        let devices = unwatched.map(|Unwatched { device, .. }| device);
        devices.filter(|device| self.leading.contains(&device.ifindex))
    }

    /// Takes in the endpoints of an event; true if one of them makes a device a node device.
    pub(super) fn received(&mut self, event: &Event) -> bool {
        let found = match event {
            Event::Slice(slice) => self.devices_to([slice]),
            Event::Slices(all) => self.devices_to(all),
            _ => return false,
        };
        let before = self.leading.len();
        self.leading.extend(found);
        self.leading.len() > before
    }

    /// Looks at all endpoints again, since some may be gone, or routes changed; true if the devices
    /// are others.
    pub(super) fn look_again(&mut self, cluster: &Cluster) -> bool {
        let found = self.devices_to(cluster.all_slices().map(Arc::as_ref));
        let is_new = found != self.leading;
        self.leading = found;
        is_new
    }

    fn devices_to<'a>(&self, slices: impl IntoIterator<Item = &'a Slice>) -> BTreeSet<u32> {
        let unwatched = self.state.as_ref().map_or(&[][..], |s| &s.others);
        if unwatched.is_empty() {
            return BTreeSet::new();
        }
        let endpoints = slices.into_iter().flat_map(|slice| &slice.endpoints);
        let of_others = endpoints.filter(|e| {
            let node = e.node.as_deref();
            node.is_some_and(|node| node != &*self.node_name)
        });
        let over = of_others.flat_map(|e| unwatched.iter().filter(|u| u.leads_to(e.addr)));
        over.map(|u| u.device.ifindex).collect()
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
