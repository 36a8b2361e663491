//! Cluster IPs that a device of this machine has: a node-local DNS cache, or what another proxy left
//! behind. A port is left to the process that serves it at just that address; the others are the
//! Service's.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::Proto;
use tracing::{info, warn};

use crate::{
    model::Cluster,
    observe::once::{Change, Outage},
    sockets::listeners::{self, Listener},
};

/// What was seen at the last look.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Each with the device that has it.
    addresses: BTreeMap<IpAddr, String>,
    /// Ports at those addresses that a process serves; sorted, each once.
    listening: Vec<(Proto, IpAddr, u16)>,
    /// Addresses that no process serves, at the last look and the one before: a process that starts
    /// binds its ports soon after its address is there.
    unserved: [Vec<IpAddr>; 2],
    outage: Outage,
}

impl Held {
    /// Looks; true if other ports are served than before. A look that fails changes nothing.
    pub(super) fn look(&mut self, holders: &[(IpAddr, String)], cluster: &Cluster) -> bool {
        self.addresses = held(holders, cluster);
        let found = if self.addresses.is_empty() {
            Ok(Vec::new())
        } else {
            listeners::all()
        };
        if let (Change::Began, Err(error)) = (self.outage.after(&found), &found) {
            warn!(%error, "cannot list the sockets that listen, will retry: which ports of cluster IPs a process of this node serves is not known");
        }
        let Ok(found) = found else {
            return false;
        };
        let listening = at(&self.addresses, found);
        let is_served = |ip: &IpAddr| listening.iter().any(|(_, addr, _)| addr == ip);
        let unserved = self.addresses.keys().filter(|ip| !is_served(ip));
        let unserved = unserved.copied().collect();
        self.unserved = [std::mem::take(&mut self.unserved[1]), unserved];
        if listening == self.listening {
            return false;
        }
        let ports: Vec<String> = listening
            .iter()
            .map(|(proto, addr, port)| format!("{proto} {addr} {port}"))
            .collect();
        info!(
            ?ports,
            "cluster IPs that this node has itself: these ports are left to the processes that serve them"
        );
        self.listening = listening;
        true
    }

    /// There is none, so that no further look is needed.
    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Ports that a process of this machine serves.
    pub(super) fn listening(&self) -> &[(Proto, IpAddr, u16)] {
        &self.listening
    }

    /// Addresses that no process serves, by device.
    pub(super) fn left_behind(&self) -> BTreeMap<String, Vec<IpAddr>> {
        let [before, now] = &self.unserved;
        let mut left: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for ip in now.iter().filter(|ip| before.contains(ip)) {
            if let Some(device) = self.addresses.get(ip) {
                left.entry(device.clone()).or_default().push(*ip);
            }
        }
        left
    }
}

fn held(holders: &[(IpAddr, String)], cluster: &Cluster) -> BTreeMap<IpAddr, String> {
    let all: BTreeMap<IpAddr, &String> = holders.iter().map(|(ip, name)| (*ip, name)).collect();
    let ips = cluster.services().flat_map(|service| &service.cluster_ips);
    ips.filter_map(|ip| Some((*ip, (*all.get(ip)?).clone())))
        .collect()
}

/// Only what is bound to such an address itself counts: a process that listens on every address
/// does not mean this one.
fn at(held: &BTreeMap<IpAddr, String>, found: Vec<Listener>) -> Vec<(Proto, IpAddr, u16)> {
    let mut all: Vec<_> = found
        .into_iter()
        .filter(|l| held.contains_key(&l.addr))
        .map(|Listener { proto, addr, port }| (proto, addr, port))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}
