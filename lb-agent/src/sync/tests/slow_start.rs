//! Endpoints that are new to a Service with slow start.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::fixtures::{Rig, endpoint, key, service, slice};
use crate::model::{Endpoint, Service, SlowStart, Weights};

fn web(slow: Option<&str>) -> Service {
    let mut web = service("web", "10.96.0.1");
    web.slow_start = slow.map(|text| SlowStart::parse(text).unwrap());
    web
}

fn endpoints(last: u8) -> Vec<Endpoint> {
    (1..=last)
        .map(|n| endpoint(&format!("10.1.0.{n}"), "here"))
        .collect()
}

fn have(rig: &mut Rig, last: u8) {
    rig.put_slice(slice("web-1", endpoints(last)));
}

/// With two endpoints that were there before its slow start of 18 s: a step takes 2 s.
fn rig(now: Instant) -> Rig {
    let mut rig = Rig::new();
    rig.engine.set_time(now);
    rig.put(web(None));
    have(&mut rig, 2);
    rig.put(web(Some("18s")));
    rig
}

fn at(rig: &mut Rig, now: Instant) {
    rig.engine.set_time(now);
    rig.sync();
}

/// Slots of each backend, by the last byte of its address.
fn turns(rig: &Rig) -> Vec<usize> {
    let web = key("web");
    let [(_, index)] = rig.engine.pools(&web) else {
        panic!("one pool");
    };
    let pool = rig.engine.mirror.pool(*index).unwrap();
    let mut turns: BTreeMap<_, usize> = BTreeMap::new();
    for id in &pool.slots().ids {
        let backend = rig.engine.mirror.backends().key(*id).unwrap();
        *turns.entry(backend.addr).or_default() += 1;
    }
    turns.into_values().collect()
}

fn nobody_is_new(rig: &Rig, of: usize) {
    assert_eq!((turns(rig), rig.engine.next_due()), (vec![1; of], None));
}

const STEP: Duration = Duration::from_secs(2);

#[test]
fn the_share_of_a_new_endpoint_grows_until_it_is_whole() {
    let start = Instant::now();
    let mut rig = rig(start);
    assert_eq!(
        rig.engine.next_due(),
        None,
        "those that were there have theirs"
    );
    assert_eq!(turns(&rig), [1, 1]);
    have(&mut rig, 3);
    for step in 0_u32..9 {
        assert_eq!(turns(&rig), sequence(step), "step {step}");
        let due = start + STEP * (step + 1);
        assert_eq!(rig.engine.next_due(), Some(due), "step {step}");
        rig.engine.set_time(start + STEP * step + STEP / 2);
        assert_eq!(rig.sync().planned, 0, "nothing before its time");
        at(&mut rig, due);
    }
    nobody_is_new(&rig, 3);
    rig.empty();
}

/// Turns of ten parts each, and of as many as the new one has, without what divides both.
fn sequence(step: u32) -> Vec<usize> {
    let parts = step as usize + 1;
    let divides = |d: &usize| parts.is_multiple_of(*d) && 10_usize.is_multiple_of(*d);
    let divisor = (1..=10).rev().find(divides).unwrap();
    vec![10 / divisor, 10 / divisor, parts / divisor]
}

#[test]
fn one_that_was_away_is_new_again_and_others_go_on() {
    let start = Instant::now();
    let mut rig = rig(start);
    have(&mut rig, 3);
    at(&mut rig, start + STEP * 4);
    assert_eq!(turns(&rig), [2, 2, 1]);
    // Its slice is written again, as for every change: it is not new.
    have(&mut rig, 4);
    assert_eq!(turns(&rig), [10, 10, 5, 1]);
    have(&mut rig, 2);
    nobody_is_new(&rig, 2);
    // Away for a moment, as between two slices, it is as old as it was.
    at(&mut rig, start + STEP * 4 + STEP / 4);
    have(&mut rig, 3);
    assert_eq!(turns(&rig), [2, 2, 1]);
    have(&mut rig, 2);
    at(&mut rig, start + STEP * 5);
    have(&mut rig, 3);
    assert_eq!(turns(&rig), [10, 10, 1]);
    // Without slow start everybody has a whole share.
    rig.put(web(None));
    nobody_is_new(&rig, 3);
    // With it, nobody is new who is there.
    rig.put(web(Some("18s")));
    nobody_is_new(&rig, 3);
    rig.empty();
}

#[test]
fn who_served_without_new_connections_is_not_new() {
    let start = Instant::now();
    let mut rig = rig(start);
    let (weights, _) = Weights::parse("node=there:0");
    let mut drained = web(Some("18s"));
    drained.weights = weights;
    rig.put(drained);
    let mut three = endpoints(2);
    three.push(endpoint("10.1.0.3", "there"));
    rig.put_slice(slice("web-1", three));
    assert_eq!(turns(&rig), [1, 1]);
    at(&mut rig, start + STEP * 10);
    rig.put(web(Some("18s")));
    nobody_is_new(&rig, 3);
    rig.empty();
}

#[test]
fn endpoints_are_old_to_an_agent_that_begins() {
    let start = Instant::now();
    let mut rig = rig(start);
    have(&mut rig, 3);
    let mut again = rig.restart();
    again.engine.set_time(start);
    again.list(vec![web(Some("18s"))], vec![slice("web-1", endpoints(3))]);
    assert_eq!(
        (turns(&again), again.engine.next_due()),
        (vec![1, 1, 1], None)
    );
    have(&mut again, 4);
    assert_eq!(turns(&again), [10, 10, 10, 1]);
    again.empty();
}

#[test]
fn all_that_come_together_are_alike() {
    let start = Instant::now();
    let mut rig = rig(start);
    have(&mut rig, 0);
    at(&mut rig, start + STEP);
    have(&mut rig, 3);
    assert_eq!(turns(&rig), [1, 1, 1]);
    rig.empty();
}

#[test]
fn the_first_of_a_service_has_no_more_than_its_age_gives_it() {
    let start = Instant::now();
    let mut rig = Rig::new();
    rig.engine.set_time(start);
    rig.put(web(Some("18s")));
    have(&mut rig, 1);
    assert_eq!(turns(&rig), [1], "alone it has everything");
    at(&mut rig, start + STEP);
    have(&mut rig, 2);
    assert_eq!(turns(&rig), [2, 1], "not ten times as much");
    rig.empty();
}

#[test]
fn a_service_is_planned_a_few_times_a_step_however_many_begin() {
    let start = Instant::now();
    let mut rig = rig(start);
    let mut now = start;
    for last in 3..40 {
        now += STEP / 10;
        rig.engine.set_time(now);
        have(&mut rig, last);
    }
    let mut plans = 0;
    while let Some(due) = rig.engine.next_due() {
        rig.engine.set_time(due);
        plans += rig.sync().planned;
    }
    assert!((9..=4 * 13).contains(&plans), "{plans}");
    nobody_is_new(&rig, 39);
    rig.empty();
}
