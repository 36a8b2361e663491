//! Another process writes into the maps: the audit finds each kind of change and repairs it.

use std::fmt::Debug;

use lb_common::{
    Addr,
    backend::Backend,
    frontend::{FrontendValue, NodeAddr},
    pool::Pool,
    slot::Slot,
};

use super::fixtures::{Rig, endpoint, ip, key, node_port, service, slice};
use crate::{
    maps::table::HashTable,
    model::{Event, ServiceType},
    sync::{Audit, Place, report::Writes},
};

impl Rig {
    /// Audits every map; entries that differed, and writes.
    pub(super) fn audit(&mut self) -> (u64, u64) {
        let (drift, report) = self.audit_with(Place::default());
        (drift, report.total())
    }

    /// From this place to the end, and what was written by the way.
    fn audit_with(&mut self, mut place: Place) -> (u64, Writes) {
        let (mut all, mut writes) = (0, Writes::default());
        loop {
            let Audit {
                drift,
                report,
                ended,
                ..
            } = self.engine.audit(&mut place, &mut self.maps);
            all += drift;
            writes.add(&report.writes);
            if ended {
                return (all, writes);
            }
        }
    }
}

fn rig() -> Rig {
    let mut rig = Rig::new();
    let mut web = node_port("web", "10.96.0.1", 30080);
    web.kind = ServiceType::LoadBalancer;
    web.ingress_ips = vec![ip("203.0.113.1")];
    web.source_ranges = vec!["10.0.0.0/8".parse().unwrap()];
    let ends = ["10.1.0.1", "10.1.0.2", "10.1.0.3"].map(|a| endpoint(a, "here"));
    let _ = rig.put(web);
    let _ = rig.put(service("dns", "fd66::10"));
    let _ = rig.put_slice(slice("web-1", ends.to_vec()));
    let _ = rig.put_slice(slice("dns-1", vec![endpoint("fd66:1::1", "there")]));
    rig.engine.handle(Event::Addresses(vec![
        (ip("10.0.0.1"), 2),
        (ip("10.0.0.2"), 3),
    ]));
    let report = rig.sync();
    assert!(report.failed.is_empty() && report.synced);
    let _ = rig.dump();
    rig
}

/// Every byte that the agent is answerable for, in words.
fn raw(rig: &mut Rig) -> Vec<String> {
    fn of<K: Debug, V: Debug>(table: &dyn HashTable<K, V>) -> Vec<String> {
        let entries = table.entries().unwrap();
        let mut lines: Vec<String> = entries.iter().map(|e| format!("{e:?}")).collect();
        lines.sort();
        lines
    }
    let maps = &mut rig.maps;
    let hashes = [
        of(&*maps.frontends),
        of(&*maps.nodeports),
        of(&*maps.nodeaddrs),
        of(&*maps.members),
        of(&*maps.srcranges),
    ];
    let mut all = hashes.concat();
    let world = rig.world.lock();
    all.extend(world.pools.iter().map(|x| format!("{x:?}")));
    all.extend(world.slots.iter().map(|x| format!("{x:?}")));
    all.extend(world.backends.iter().map(|x| format!("{x:?}")));
    all
}

/// A change by another process, and how many entries it makes wrong.
type Deed = (&'static str, u64, fn(&mut Rig));

fn first<K: Copy + Ord, V: Copy>(table: &dyn HashTable<K, V>) -> (K, V) {
    let entries = table.entries().unwrap();
    entries.into_iter().min_by_key(|(key, _)| *key).unwrap()
}

/// Removes the first entry.
fn take<K: Copy + Ord, V: Copy>(table: &mut dyn HashTable<K, V>) {
    let (key, _) = first(table);
    assert_eq!(table.remove(&[key]).done, 1);
}

fn put<K: Copy, V: Copy>(table: &mut dyn HashTable<K, V>, key: K, value: V) {
    assert_eq!(table.insert(&[(key, value)]).done, 1);
}

fn index_of_a_pool(rig: &Rig) -> usize {
    let world = rig.world.lock();
    world.pools.iter().position(|s| s.count == 3).unwrap()
}

const DEEDS: &[Deed] = &[
    ("nothing", 0, |_| {}),
    ("a service is deleted", 1, |r| take(&mut *r.maps.frontends)),
    ("every service is deleted", 12, |r| {
        let keys: Vec<_> = r.maps.frontends.entries().unwrap();
        let keys: Vec<_> = keys.into_iter().map(|(key, _)| key).collect();
        assert_eq!(r.maps.frontends.remove(&keys).done, keys.len());
    }),
    ("a service leads elsewhere", 1, |r| {
        let (key, value) = first(&*r.maps.frontends);
        let wrong = FrontendValue {
            pool: value.pool + 1,
            ..value
        };
        put(&mut *r.maps.frontends, key, wrong);
    }),
    ("a service is added", 1, |r| {
        let (mut key, value) = first(&*r.maps.frontends);
        key.port = 4711;
        put(&mut *r.maps.frontends, key, value);
    }),
    ("a node port is deleted", 1, |r| {
        take(&mut *r.maps.nodeports);
    }),
    ("a node port leads elsewhere", 1, |r| {
        let (key, value) = first(&*r.maps.nodeports);
        put(
            &mut *r.maps.nodeports,
            key,
            FrontendValue {
                flags: !value.flags,
                ..value
            },
        );
    }),
    ("a node address is deleted", 1, |r| {
        take(&mut *r.maps.nodeaddrs);
    }),
    ("a node address is moved, another added", 2, |r| {
        let (key, _) = first(&*r.maps.nodeaddrs);
        let wrong = NodeAddr {
            ifindex: 99,
            flags: 0,
        };
        put(&mut *r.maps.nodeaddrs, key, wrong);
        put(&mut *r.maps.nodeaddrs, Addr::from(ip("10.9.9.9")), wrong);
    }),
    ("a member is deleted", 1, |r| take(&mut *r.maps.members)),
    ("a member loses its flags, another is added", 2, |r| {
        let (mut key, _) = first(&*r.maps.members);
        put(&mut *r.maps.members, key, 0);
        key.backend += 100;
        put(&mut *r.maps.members, key, 1);
    }),
    ("a source range is deleted", 1, |r| {
        take(&mut *r.maps.srcranges);
    }),
    ("a source range is added", 1, |r| {
        let (mut key, value) = first(&*r.maps.srcranges);
        key.prefix_len -= 1;
        put(&mut *r.maps.srcranges, key, value);
    }),
    ("word 0 of a service is cleared", 1, |r| {
        let index = index_of_a_pool(r);
        r.world.lock().pools[index] = Pool::EMPTY;
    }),
    ("a service that is none is written", 1, |r| {
        let index = index_of_a_pool(r);
        let stranger = r.world.lock().pools[index];
        r.world.lock().pools[200] = stranger;
    }),
    ("a slot names another backend", 1, |r| {
        let index = index_of_a_pool(r);
        let mut world = r.world.lock();
        let base = world.pools[index].base as usize;
        world.slots[base].backend += 1;
    }),
    ("slots of a service are cleared", 3, |r| {
        let index = index_of_a_pool(r);
        let mut world = r.world.lock();
        let base = world.pools[index].base as usize;
        world.slots[base..base + 3].fill(Slot::FREE);
    }),
    (
        "a backend is cleared, and one that is none is written",
        2,
        |r| {
            let mut world = r.world.lock();
            let at = world
                .backends
                .iter()
                .position(|b| *b != Backend::FREE)
                .unwrap();
            let moved = std::mem::replace(&mut world.backends[at], Backend::FREE);
            world.backends[1000] = moved;
        },
    ),
];

#[test]
fn whatever_somebody_changed_is_found_counted_and_repaired() {
    for (what, wrong, deed) in DEEDS {
        // Whatever the size of the pages.
        for page in [1, 3, 2048] {
            let mut rig = rig();
            let before = raw(&mut rig);
            deed(&mut rig);
            // The rules bind the agent, not the one who broke in.
            rig.world.lock().violations.clear();
            assert_eq!(raw(&mut rig) == before, *wrong == 0, "{what}");
            let (drift, _) = rig.audit_with(Place::with_pages(page));
            assert_eq!(drift, *wrong, "{what}, in pages of {page}");
            assert_eq!(raw(&mut rig), before, "{what}, in pages of {page}");
            assert_eq!(rig.audit(), (0, 0), "{what}: audited twice");
            rig.world.lock().violations.clear();
            rig.empty();
        }
    }
}

#[test]
fn what_somebody_changed_for_good_is_found_while_services_come_and_go() {
    for (what, wrong, deed) in DEEDS {
        let mut rig = rig();
        deed(&mut rig);
        rig.world.lock().violations.clear();
        let (mut place, mut found, mut turn) = (Place::with_pages(16), 0, 0);
        loop {
            let Audit { drift, ended, .. } = rig.engine.audit(&mut place, &mut rig.maps);
            found += drift;
            if ended {
                break;
            }
            // As many frontends, members and backends come as go, so that no count tells.
            let of = |n: u32| format!("other-{}", n % 3);
            let other = service(&of(turn), &format!("10.96.9.{}", turn % 3));
            rig.engine.handle(Event::Service(other));
            let ends = vec![endpoint(&format!("10.1.9.{}", turn % 3), "here")];
            let ends = slice(&format!("{}-1", of(turn)), ends);
            rig.engine.handle(Event::Slice(ends));
            rig.engine.handle(Event::ServiceGone(key(&of(turn + 1))));
            // Not judged: the one who broke in has kept no rule.
            drop(rig.engine.sync(&mut rig.maps));
            turn += 1;
        }
        assert!(turn > 20, "only {turn} steps");
        assert_eq!(found, *wrong, "{what}");
        assert_eq!(rig.audit(), (0, 0), "{what}: audited twice");
    }
}

#[test]
fn a_step_reads_no_more_than_its_page() {
    let mut rig = rig();
    let (mut place, mut steps) = (Place::with_pages(4), 0);
    while !rig.engine.audit(&mut place, &mut rig.maps).ended {
        steps += 1;
    }
    let world = rig.world.lock();
    let elements = world.backends.len() + world.pools.len();
    assert!(
        steps > elements / 4,
        "{steps} steps for {elements} elements"
    );
}

#[test]
fn a_repair_that_fails_is_told_and_tried_again() {
    let mut rig = rig();
    let before = raw(&mut rig);
    take(&mut *rig.maps.frontends);
    rig.world.lock().violations.clear();
    rig.world.lock().fail(1, 1000);
    let (drift, writes) = rig.audit_with(Place::default());
    assert_eq!((drift, writes.total()), (1, 0));
    rig.world.lock().fail(0, 0);
    assert_eq!(rig.audit().0, 1);
    assert_eq!(raw(&mut rig), before);
}
