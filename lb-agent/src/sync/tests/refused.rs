//! Services that do not fit: what they cost those that do, and when they are tried again.

use super::fixtures::{Rig, endpoint, key, port, service, slice};
use crate::{
    maps::mem::{self, Limits},
    model::{Event, Service},
};

const REFUSED: u8 = 50;

/// Two pools: two ports.
fn double(n: u8) -> Service {
    let mut double = service(&format!("double{n}"), &format!("10.96.1.{n}"));
    double.ports = vec![port("a", 80), port("b", 81)];
    double
}

/// Three of four indices are taken, and many Services want two.
fn nearly_full() -> Rig {
    let limits = Limits {
        hash: 4096,
        pools: 5,
        slots: 64,
        backends: 64,
    };
    let mut rig = Rig::unsynced(mem::new(limits));
    let small = (1..4).map(|n| service(&format!("small{n}"), &format!("10.96.0.{n}")));
    rig.list(small.collect(), vec![]);
    for n in 0..REFUSED {
        rig.engine.handle(Event::Service(double(n)));
    }
    assert_eq!(rig.sync().failed.len(), usize::from(REFUSED));
    drop(rig.dump());
    rig
}

#[test]
fn services_that_do_not_fit_cost_neither_barriers_nor_writes() {
    let mut rig = nearly_full();
    let before = rig.world.lock().total_writes();
    for _ in 0..3 {
        let report = rig.sync();
        assert_eq!(report.failed.len(), usize::from(REFUSED));
        assert_eq!((report.barriers, report.writes.total()), (0, 0));
    }
    assert_eq!(rig.world.lock().total_writes(), before);
    assert!(!rig.engine.snapshot().unsettled, "nothing is retired");
    // The one index that is left is for whom it is enough.
    let report = rig.put(service("last", "10.96.0.9"));
    assert_eq!(report.failed.len(), usize::from(REFUSED));
    assert_eq!(report.barriers, 0);
    assert!(!rig.engine.problems().contains_key(&key("last")));
    rig.empty();
}

#[test]
fn another_services_change_does_not_try_them_again() {
    let mut rig = nearly_full();
    let small = slice("small1-1", vec![endpoint("10.1.0.1", "here")]);
    rig.engine.handle(Event::Slice(small));
    let report = rig.sync_changes();
    assert_eq!((report.planned, report.failed.len()), (1, 0));
    let snapshot = rig.engine.snapshot();
    assert_eq!(
        (snapshot.refused, snapshot.retrying, snapshot.waiting),
        (REFUSED.into(), REFUSED.into(), true)
    );
    assert_eq!(rig.engine.problems().len(), usize::from(REFUSED));

    // Room is made: the next retry finds it, behind one barrier.
    rig.engine.handle(Event::ServiceGone(key("small2")));
    assert!(rig.sync_changes().freed);
    let report = rig.sync();
    assert_eq!(report.failed.len(), usize::from(REFUSED) - 1);
    assert_eq!(report.barriers, 1);
    assert_eq!(rig.engine.snapshot().refused, usize::from(REFUSED) - 1);
    rig.empty();
}
