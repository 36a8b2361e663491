//! Cluster IPs that a device of this machine has: a node-local DNS cache, or what another proxy left
//! behind. A port is left to the process that serves it at just that address; the others are the
//! Service's. There may be thousands of such addresses.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    future::pending,
    io,
    net::IpAddr,
};

use lb_common::Proto;
use tokio::task::JoinSet;
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
    unserved: [BTreeSet<IpAddr>; 2],
    /// A list of sockets that is being made beside the event loop: one at most.
    listing: JoinSet<io::Result<Vec<Listener>>>,
    outage: Outage,
}

impl Held {
    /// Looks at once, as is needed before a Service is planned; true if other ports are served than
    /// before. A look that fails changes nothing.
    pub(super) fn look(&mut self, holders: &[(IpAddr, String)], cluster: &Cluster) -> bool {
        self.addresses = held(holders, cluster);
        let found = if self.addresses.is_empty() {
            Ok(Vec::new())
        } else {
            listeners::all()
        };
        // What another look finds would be older.
        self.listing = JoinSet::new();
        self.seen(found)
    }

    /// Has the sockets listed beside the event loop, unless that is under way.
    pub(super) fn list(&mut self) {
        if self.listing.is_empty() {
            self.listing.spawn_blocking(listeners::all);
        }
    }

    /// What was found; waits forever while nothing is being listed.
    pub(super) async fn listed(&mut self) -> io::Result<Vec<Listener>> {
        match self.listing.join_next().await {
            Some(found) => found.map_err(io::Error::other)?,
            None => pending().await,
        }
    }

    /// Takes in what was listed; true if other ports are served than before. What failed changes
    /// nothing.
    pub(super) fn take(
        &mut self,
        found: io::Result<Vec<Listener>>,
        holders: &[(IpAddr, String)],
        cluster: &Cluster,
    ) -> bool {
        self.addresses = held(holders, cluster);
        self.seen(found)
    }

    fn seen(&mut self, found: io::Result<Vec<Listener>>) -> bool {
        if let (Change::Began, Err(error)) = (self.outage.after(&found), &found) {
            warn!(%error, "cannot list the sockets that listen, will retry: which ports of cluster IPs a process of this node serves is not known");
        }
        let Ok(found) = found else {
            return false;
        };
        let listening = at(&self.addresses, found);
        let served: HashSet<IpAddr> = listening.iter().map(|(_, addr, _)| *addr).collect();
        let unserved = self.addresses.keys().filter(|ip| !served.contains(ip));
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
        for ip in now.intersection(before) {
            if let Some(device) = self.addresses.get(ip) {
                left.entry(device.clone()).or_default().push(*ip);
            }
        }
        left
    }
}

/// The device that has this address; `holders` are sorted.
pub(super) fn holder<'h>(holders: &'h [(IpAddr, String)], ip: &IpAddr) -> Option<&'h str> {
    let behind = holders.partition_point(|(of, _)| of <= ip);
    let (of, device) = holders.get(behind.checked_sub(1)?)?;
    (of == ip).then_some(device)
}

fn held(holders: &[(IpAddr, String)], cluster: &Cluster) -> BTreeMap<IpAddr, String> {
    if holders.is_empty() {
        return BTreeMap::new();
    }
    let ips = cluster.services().flat_map(|service| &service.cluster_ips);
    ips.filter_map(|ip| Some((*ip, holder(holders, ip)?.to_owned())))
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

#[cfg(test)]
mod tests;
