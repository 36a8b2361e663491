//! What a change costs in elements.

use super::fixtures::{Rig, draining, endpoint, service, slice};
use crate::maps::{
    Table,
    mem::{self, Limits},
};

const ENDPOINTS: usize = 5000;
const SLICE: usize = 100;

#[test]
fn one_endpoint_of_five_thousand_touches_few_elements() {
    let limits = Limits {
        hash: 1 << 16,
        pools: 64,
        slots: 1 << 16,
        backends: 1 << 14,
    };
    let mut rig = Rig::unsynced(mem::new(limits));
    rig.list(vec![service("web", "10.96.0.1")], vec![]);
    let ends: Vec<_> = (0..ENDPOINTS)
        .map(|n| endpoint(&format!("10.1.{}.{}", n / 250, n % 250), "there"))
        .collect();
    for (n, part) in ends.chunks(SLICE).enumerate() {
        rig.engine.handle(crate::model::Event::Slice(slice(
            &format!("web-{n:03}"),
            part.to_vec(),
        )));
    }
    let report = rig.sync();
    assert_eq!(report.writes[Table::Members], ENDPOINTS as u64);

    let mut changed = ends[..SLICE].to_vec();
    changed[7] = draining("10.1.0.7", "there");
    let report = rig.put_slice(slice("web-000", changed.clone()));
    // One member loses a flag, one backend shows it, one entry switches. The slots are plain stores
    // into mapped memory.
    assert_eq!(report.writes.hashed(), 1);
    assert_eq!(
        (report.writes[Table::Backends], report.writes[Table::Pools]),
        (1, 1)
    );
    assert_eq!(report.writes[Table::Slots], ENDPOINTS as u64 - 1);
    assert_eq!(report.barriers, 0);

    changed[7] = endpoint("10.9.9.9", "there");
    let report = rig.put_slice(slice("web-000", changed));
    assert_eq!(
        (report.writes.hashed(), report.writes[Table::Backends]),
        (2, 1)
    );
    assert_eq!(report.barriers, 0);
    rig.empty();
}

#[test]
fn another_service_is_not_planned() {
    let mut rig = Rig::new();
    for n in 1..100 {
        rig.engine.handle(crate::model::Event::Service(service(
            &format!("s{n}"),
            &format!("10.96.0.{n}"),
        )));
    }
    assert_eq!(rig.sync().planned, 99);
    let report = rig.put_slice(slice("s5-1", vec![endpoint("10.1.0.1", "here")]));
    assert_eq!((report.planned, report.services_changed), (1, 1));
    assert_eq!(
        report.writes.total(),
        4,
        "a backend, a member, a slot, an entry"
    );
    rig.empty();
}
