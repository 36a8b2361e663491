//! A row of the page: a Service port with all its frontends and backends.

use std::collections::BTreeMap;

use crate::{
    inventory::{
        Frontend, Member, ServicePort,
        rates::{All, Key, Rates, key},
    },
    model::BackendState,
};

/// A Service port.
#[derive(Debug)]
pub(super) struct Port {
    /// TCP, UDP or SCTP.
    pub(super) protocol: String,
    /// `namespace/name:port`; the first frontend of one whose name is not known.
    pub(super) name: String,
    /// Of a Service whose name is known.
    pub(super) service: Option<ServicePort>,
    /// Without their backends.
    pub(super) frontends: Vec<Frontend>,
    /// Each once, in the order of their addresses.
    pub(super) backends: Vec<Member>,
    /// Of those, the ones that new connections may choose.
    pub(super) ready: usize,
    /// Since its pools were made.
    pub(super) rejects: u64,
    /// `None` until the next look.
    pub(super) rates: Option<Rates>,
    /// Open connections over its backends.
    pub(super) active: u64,
}

/// Those of all frontends, by name.
pub(super) fn ports(frontends: Vec<Frontend>, counted: &All, rates: Vec<Rates>) -> Vec<Port> {
    let rates = rates.into_iter();
    let mut rates: BTreeMap<Key, Rates> =
        rates.map(|r| ((r.protocol.clone(), r.name()), r)).collect();
    let mut all: BTreeMap<Key, Vec<Frontend>> = BTreeMap::new();
    for frontend in frontends {
        all.entry(key(&frontend)).or_default().push(frontend);
    }
    let ports = all.into_iter().map(|(key, frontends)| {
        let counted = counted.get(&key);
        let rates = rates.remove(&key);
        one(
            key,
            frontends,
            rates,
            counted.map_or(0, |c| c.stats.rejects),
        )
    });
    let mut ports: Vec<Port> = ports.collect();
    // Those without a name are the last.
    ports.sort_by_cached_key(|p| (p.service.is_none(), p.name.clone(), p.protocol.clone()));
    ports
}

fn one(
    (protocol, name): Key,
    mut frontends: Vec<Frontend>,
    rates: Option<Rates>,
    rejects: u64,
) -> Port {
    let mut backends: Vec<Member> = Vec::new();
    let mut at: BTreeMap<u32, usize> = BTreeMap::new();
    for backend in frontends.iter_mut().flat_map(|f| f.backends.drain(..)) {
        match at.get(&backend.id) {
            // Draining from one frontend, it may be another one's.
            Some(&n) if backends[n].weight == 0 => backends[n] = backend,
            Some(_) => {}
            None => {
                at.insert(backend.id, backends.len());
                backends.push(backend);
            }
        }
    }
    backends.sort_by_key(|b| (b.ip(), b.port));
    Port {
        protocol,
        name,
        service: frontends.iter().find_map(|f| f.service.clone()),
        ready: backends
            .iter()
            .filter(|b| b.state == BackendState::Ready)
            .count(),
        active: backends
            .iter()
            .map(|b| b.active_connections)
            .fold(0, u64::saturating_add),
        frontends,
        backends,
        rejects,
        rates,
    }
}

impl Port {
    /// The same for as long as the Service port is, and no other one's.
    pub(super) fn id(&self) -> String {
        format!("{} {}", self.protocol, self.name)
    }

    /// Does each word stand somewhere in it: names, addresses, protocol, kinds, scheduler, states?
    pub(super) fn holds(&self, words: &[String]) -> bool {
        words.iter().all(|word| self.holds_one(word))
    }

    fn holds_one(&self, word: &str) -> bool {
        let is_in = |text: &str| holds(text, word);
        let is_at = |address: &str, port: u16| is_in(&format!("{address}:{port}"));
        is_in(&self.name)
            || is_in(&self.protocol)
            || self.frontends.iter().any(|f| {
                is_at(&f.address, f.port)
                    || is_in(f.scheduler)
                    || f.kinds.iter().any(|kind| is_in(kind))
                    || f.without_backends.is_some_and(is_in)
            })
            || self.backends.iter().any(|b| {
                let place = [&b.place.pod, &b.place.node, &b.place.zone];
                is_at(&b.address, b.port)
                    || is_in(b.state.name())
                    || place.into_iter().flatten().any(|name| is_in(name))
            })
    }
}

/// Whether a word stands in a text, upper and lower case alike.
fn holds(text: &str, word: &str) -> bool {
    let word = word.as_bytes();
    word.is_empty()
        || text
            .as_bytes()
            .windows(word.len())
            .any(|part| part.eq_ignore_ascii_case(word))
}
