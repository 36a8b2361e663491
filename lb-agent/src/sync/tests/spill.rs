//! What stands behind the slots of a Service that leaves its zone.

use lb_common::{
    pool::{flags, slots_and_weights},
    slot::Slot,
    spill::Area,
};

use super::fixtures::{Rig, endpoint, key, service, slice};
use crate::{
    maps::Table,
    model::{Scheduler, Service, Slice, Spill, Weights},
};

fn web(spill: Option<&str>) -> Service {
    let mut web = service("web", "10.96.0.1");
    web.spill = spill.map(|text| Spill::parse(text).unwrap());
    web
}

/// So many endpoints for this node, and three for others, each on a node of its own.
fn ends(inside: u8) -> Slice {
    let ends = (1..=inside + 3).map(|n| {
        let mut end = endpoint(&format!("10.1.0.{n}"), &format!("n{n}"));
        let node = if n <= inside { "here" } else { "there" };
        end.hints.get_or_insert_default().nodes = vec![node.into()];
        end
    });
    slice("web-1", ends.collect())
}

fn rig(service: Service, inside: u8) -> Rig {
    let mut rig = Rig::new();
    rig.list(vec![service], vec![ends(inside)]);
    rig
}

/// Slots, and what stands behind them.
fn found(rig: &Rig) -> (u16, Option<Area>) {
    let web = key("web");
    let [(_, index)] = rig.engine.pools(&web) else {
        panic!("one pool");
    };
    let world = rig.world.lock();
    let pool = world.pools[*index as usize];
    let behind = slots_and_weights(pool.count, pool.flags);
    let at = (pool.base + behind) as usize;
    let area = Area::of(
        *index,
        pool.generation,
        [world.slots[at], world.slots[at + 1]],
    );
    let spills = pool.flags & flags::SPILLS != 0;
    assert_eq!(area.is_some(), spills, "the flag goes with the words");
    (pool.count, area)
}

const AREA: Area = Area {
    share: 24_576,
    inside: 1,
    outside: 3,
};

#[test]
fn it_comes_changes_and_goes_with_the_annotation() {
    let mut rig = rig(web(Some("150%")), 1);
    assert_eq!(found(&rig), (1, Some(AREA)));
    rig.put(web(Some("300%")));
    let more = Area {
        share: 49_152,
        ..AREA
    };
    assert_eq!(found(&rig), (1, Some(more)));
    rig.put(web(Some("400%")));
    assert_eq!(found(&rig), (1, None), "never above: all of it");
    rig.put(web(Some("150%")));
    rig.put(web(None));
    assert_eq!(found(&rig), (1, None));
    rig.empty();
}

#[test]
fn weights_stand_between() {
    let mut service = web(Some("120%"));
    service.scheduler = Some(Scheduler::WeightedLeastConnections);
    (service.weights, _) = Weights::parse("node=n1:100, *:50");
    let rig = rig(service, 2);
    let area = Area {
        // 1.2 times 150 of 300.
        share: 39_321,
        inside: 2,
        outside: 3,
    };
    assert_eq!(found(&rig), (2, Some(area)));
}

#[test]
fn without_hints_nothing_leaves() {
    let mut rig = rig(web(Some("150%")), 1);
    let ends = (1..=4).map(|n| endpoint(&format!("10.1.0.{n}"), "there"));
    rig.put_slice(slice("web-1", ends.collect()));
    assert_eq!(found(&rig), (4, None));
}

#[test]
fn an_agent_that_follows_writes_nothing_and_one_that_finds_it_broken_writes_it_anew() {
    let mut rig = rig(web(Some("150%")), 1);
    let dump = rig.dump();
    let mut rig = rig.restart();
    let report = rig.list(vec![web(Some("150%"))], vec![ends(1)]);
    assert_eq!(report.writes.total(), 0);
    assert_eq!(rig.dump(), dump);
    {
        let mut world = rig.world.lock();
        let mark = Slot::AREA;
        let at = world
            .slots
            .iter()
            .position(|slot| *slot != Slot::FREE && slot.pool & mark != 0);
        let first = &mut world.slots[at.unwrap() + 2];
        first.pool += 1;
    }
    let mut rig = rig.restart();
    let report = rig.list(vec![web(Some("150%"))], vec![ends(1)]);
    assert!(report.writes[Table::Slots] > 0);
    assert_eq!(found(&rig), (1, Some(AREA)));
    assert_eq!(rig.dump(), dump);
}
