//! Everything the agent knows, and which services a batch of facts has touched. Owns the vanishing
//! of changes that cancel themselves; knows nothing of maps.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    mem,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{Cidr, Event, Machine, Node, ObjectKey, Service, Slice, Unread, names::Names};

/// Each with the interface that carries it.
type Addresses = Vec<(IpAddr, u32)>;

/// Facts about the cluster and about this machine.
#[derive(Default)]
pub struct Cluster {
    services: HashMap<ObjectKey, Arc<Service>>,
    slices: HashMap<ObjectKey, Arc<Slice>>,
    /// The same slices by their service, sorted by name.
    by_service: HashMap<ObjectKey, Vec<Arc<Slice>>>,
    node: Option<Node>,
    /// `None` until they are known: an empty list is news too.
    addresses: Option<Addresses>,
    machine: Machine,
    /// `None` until they are known.
    service_cidrs: Option<BTreeMap<String, Vec<Cidr>>>,
    /// See [`Event::Quarantined`].
    quarantined: BTreeMap<ObjectKey, Vec<SocketAddr>>,
    unread: Unreads,
    synced: Synced,
    pending: Pending,
    names: Names,
}

/// Which sources have listed everything once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one a source")]
pub struct Synced {
    /// [`Event::Services`] has come.
    pub services: bool,
    /// [`Event::Slices`] has come.
    pub slices: bool,
    /// [`Event::Node`] or [`Event::NodeGone`] has come.
    pub node: bool,
    /// [`Event::Addresses`] has come.
    pub addresses: bool,
}

/// What the objects touched since the last [`Cluster::take_changes`] were before.
#[derive(Default)]
struct Pending {
    /// The first list of slices is among them: its trigger times say nothing about us.
    first_list: bool,
    services: HashMap<ObjectKey, Option<Arc<Service>>>,
    slices: HashMap<ObjectKey, Option<Arc<Slice>>>,
    zone: Option<Before<Option<Arc<str>>>>,
    machine: Option<Before<Machine>>,
    addresses: Option<Before<Option<Addresses>>>,
    /// Whose quarantine is another than before.
    quarantined: BTreeSet<ObjectKey>,
}

/// What exists and cannot be read, by the lists that come next.
#[derive(Default)]
struct Unreads {
    services: HashSet<ObjectKey>,
    slices: HashSet<ObjectKey>,
    node: bool,
}

/// What a fact was before it was first touched.
struct Before<T>(T);

/// What is different from the last time it was asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Services to plan anew (or to take away), sorted.
    pub services: BTreeSet<ObjectKey>,
    /// Every service is to be planned anew: this node's zone has changed, or what is on this
    /// machine.
    pub everything: bool,
    /// The addresses of this machine.
    pub addresses: bool,
    /// When the changes behind the changed slices were made, for each slice that says so and that
    /// came after the first list.
    pub trigger_times: Vec<Trigger>,
}

/// When the change behind a slice was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trigger {
    /// Whose.
    pub service: ObjectKey,
    /// By the clock of the control plane.
    pub at: jiff::Timestamp,
    /// The family of the slice; false for one that has never had an endpoint.
    pub v6: bool,
}

impl Cluster {
    /// Takes in one fact.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Service(service) => self.put_service(service),
            Event::ServiceGone(key) => self.drop_service(&key),
            Event::Services(all) => {
                let mut kept = mem::take(&mut self.unread.services);
                kept.extend(all.iter().map(|s| s.key.clone()));
                let gone: Vec<_> = absent(&self.services, &kept);
                for key in &gone {
                    self.drop_service(key);
                }
                for service in all {
                    self.put_service(service);
                }
                self.synced.services = true;
            }
            Event::Slice(slice) => self.put_slice(slice),
            Event::SliceGone(key) => self.drop_slice(&key),
            Event::Slices(all) => {
                let mut kept = mem::take(&mut self.unread.slices);
                kept.extend(all.iter().map(|s| s.key.clone()));
                let gone: Vec<_> = absent(&self.slices, &kept);
                for key in &gone {
                    self.drop_slice(key);
                }
                for slice in all {
                    self.put_slice(slice);
                }
                self.pending.first_list |= !self.synced.slices;
                self.synced.slices = true;
            }
            Event::Unread(Unread::Services(names)) => self.unread.services = keys(names),
            Event::Unread(Unread::Slices(names)) => self.unread.slices = keys(names),
            Event::Unread(Unread::Node) => self.unread.node = true,
            Event::Node(node) => self.set_node(Some(node)),
            // It is there, and known.
            Event::NodeGone if mem::take(&mut self.unread.node) && self.node.is_some() => {}
            Event::NodeGone => self.set_node(None),
            Event::Addresses(all) => {
                let before = Before(self.addresses.replace(all));
                self.pending.addresses.get_or_insert(before);
                self.synced.addresses = true;
            }
            Event::Machine(machine) => {
                let before = Before(mem::replace(&mut self.machine, machine));
                self.pending.machine.get_or_insert(before);
            }
            Event::ServiceCidr(one) => {
                let all = self.service_cidrs.get_or_insert_default();
                all.insert(one.name, one.networks);
            }
            Event::ServiceCidrGone(name) => {
                self.service_cidrs.get_or_insert_default().remove(&name);
            }
            Event::ServiceCidrs(all) => {
                let all = all.into_iter().map(|one| (one.name, one.networks));
                self.service_cidrs = Some(all.collect());
            }
            Event::Quarantined(now) => {
                let before = mem::replace(&mut self.quarantined, now);
                let keys = before.keys().chain(self.quarantined.keys());
                let changed = keys.filter(|key| before.get(*key) != self.quarantined.get(*key));
                self.pending.quarantined.extend(changed.cloned());
            }
            Event::ClusterUid(_) => {}
        }
    }

    /// What has changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        let Pending {
            first_list,
            services,
            slices,
            zone,
            machine,
            addresses,
            quarantined,
        } = mem::take(&mut self.pending);
        let mut changes = Changes {
            everything: zone.is_some_and(|Before(zone)| zone.as_ref() != self.zone())
                || machine.is_some_and(|Before(machine)| machine != self.machine),
            addresses: addresses.is_some_and(|Before(list)| list != self.addresses),
            services: quarantined,
            ..Changes::default()
        };
        for (key, before) in services {
            if before != self.services.get(&key).cloned() {
                changes.services.insert(key);
            }
        }
        for (key, before) in slices {
            let now = self.slices.get(&key);
            if before.as_ref() == now {
                continue;
            }
            let sides = [before.as_ref(), now];
            let touched = sides.into_iter().flatten().map(|s| s.service.clone());
            changes.services.extend(touched);
            if let Some(now) = now
                && let Some(time) = now.trigger_time
                && self.synced.slices
                && !first_list
                && before.as_ref().and_then(|s| s.trigger_time) != Some(time)
            {
                let endpoint = sides
                    .into_iter()
                    .flatten()
                    .find_map(|s| s.endpoints.first());
                let v6 = endpoint.is_some_and(|e| e.addr.is_ipv6());
                changes.trigger_times.push(Trigger {
                    service: now.service.clone(),
                    at: time,
                    v6,
                });
            }
        }
        changes
    }

    /// The Service of this name.
    #[must_use]
    pub fn service(&self, key: &ObjectKey) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// Every Service.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// The slices of a Service, sorted by name.
    #[must_use]
    pub fn slices(&self, service: &ObjectKey) -> &[Arc<Slice>] {
        self.by_service.get(service).map_or(&[], Vec::as_slice)
    }

    /// Every slice.
    pub fn all_slices(&self) -> impl Iterator<Item = &Arc<Slice>> {
        self.slices.values()
    }

    /// Our Node, if it is there.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// Our Node's zone.
    #[must_use]
    pub fn zone(&self) -> Option<&Arc<str>> {
        self.node.as_ref()?.zone.as_ref()
    }

    /// Addresses that node ports answer on, with the interface that carries each.
    #[must_use]
    pub fn addresses(&self) -> &[(IpAddr, u32)] {
        self.addresses.as_deref().unwrap_or_default()
    }

    /// What is on this machine and on its links.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The networks of cluster IPs; `None` while the source has not told whether it knows any.
    #[must_use]
    pub fn service_cidrs(&self) -> Option<Vec<Cidr>> {
        let all = self.service_cidrs.as_ref()?;
        Some(all.values().flatten().copied().collect())
    }

    /// The Service's backends that are in quarantine, the first one first.
    #[must_use]
    pub fn quarantined(&self, service: &ObjectKey) -> &[SocketAddr] {
        self.quarantined.get(service).map_or(&[], Vec::as_slice)
    }

    /// Which sources have listed everything once.
    #[must_use]
    pub fn synced(&self) -> Synced {
        self.synced
    }

    fn put_service(&mut self, mut service: Service) {
        self.names.of_service(&mut service);
        let key = service.key.clone();
        let before = self.services.insert(key.clone(), Arc::new(service));
        self.pending.services.entry(key).or_insert(before);
    }

    fn drop_service(&mut self, key: &ObjectKey) {
        if let Some(before) = self.services.remove(key) {
            let before = Some(before);
            self.pending.services.entry(key.clone()).or_insert(before);
        }
    }

    fn put_slice(&mut self, mut slice: Slice) {
        self.names.of_slice(&mut slice);
        let key = slice.key.clone();
        let slice = Arc::new(slice);
        let before = self.slices.insert(key.clone(), Arc::clone(&slice));
        if let Some(before) = &before {
            self.unlink(before);
        }
        let list = self.by_service.entry(slice.service.clone()).or_default();
        let at = list.partition_point(|s| s.key < key);
        list.insert(at, slice);
        self.pending.slices.entry(key).or_insert(before);
    }

    fn drop_slice(&mut self, key: &ObjectKey) {
        if let Some(before) = self.slices.remove(key) {
            self.unlink(&before);
            self.pending
                .slices
                .entry(key.clone())
                .or_insert(Some(before));
        }
    }

    fn unlink(&mut self, slice: &Slice) {
        if let Some(list) = self.by_service.get_mut(&slice.service) {
            list.retain(|s| s.key != slice.key);
            if list.is_empty() {
                self.by_service.remove(&slice.service);
            }
        }
    }

    fn set_node(&mut self, node: Option<Node>) {
        let zone = Before(self.zone().cloned());
        self.pending.zone.get_or_insert(zone);
        self.node = node;
        self.synced.node = true;
    }
}

impl Synced {
    /// Services, slices and Node: from now on what is absent is gone.
    #[must_use]
    pub fn objects(self) -> bool {
        self.services && self.slices && self.node
    }
}

fn keys(names: Vec<ObjectKey>) -> HashSet<ObjectKey> {
    names.into_iter().collect()
}

fn absent<T>(known: &HashMap<ObjectKey, T>, kept: &HashSet<ObjectKey>) -> Vec<ObjectKey> {
    known
        .keys()
        .filter(|k| !kept.contains(k))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests;
