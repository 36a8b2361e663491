//! Backends that leave a Service whose removal policy resets connections.

use std::time::{Duration, Instant};

use lb_common::Proto;

use super::fixtures::{Rig, endpoint, ip, key, service, slice};
use crate::{
    model::{Event, Removal, Service},
    sync::Association,
};

fn web(removal: Option<Removal>) -> Service {
    let mut web = service("web", "10.96.0.1");
    web.removal = removal;
    web
}

/// A socket of TCP that got 10.1.0.`m`.
fn pair(m: u8) -> Association {
    Association {
        proto: Proto::Tcp.number(),
        vip: ip("10.96.0.1").into(),
        vip_port: 80,
        backend: ip(&format!("10.1.0.{m}")).into(),
        backend_port: 8080,
        pool: POOL,
    }
}

/// The index of the only pool of the first Service.
const POOL: u32 = 1;

/// The index of the only pool of this Service.
fn pool(rig: &Rig, service: &str) -> u32 {
    let [(_, index)] = rig.engine.pools(&key(service)) else {
        panic!("{service} has one pool");
    };
    *index
}

/// With two endpoints.
fn rig(removal: Option<Removal>, now: Instant) -> Rig {
    let mut rig = Rig::new();
    rig.engine.set_time(now);
    rig.put(web(removal));
    two(&mut rig);
    assert_eq!(pool(&rig, "web"), POOL);
    rig
}

fn one(rig: &mut Rig) -> u64 {
    let report = rig.put_slice(slice("web-1", vec![endpoint("10.1.0.1", "here")]));
    report.connections_lost
}

fn two(rig: &mut Rig) {
    let ends = vec![endpoint("10.1.0.1", "here"), endpoint("10.1.0.2", "there")];
    rig.put_slice(slice("web-1", ends));
}

fn at(rig: &mut Rig, now: Instant) -> u64 {
    rig.engine.set_time(now);
    rig.sync().connections_lost
}

const HALF: Duration = Duration::from_secs(15);

#[test]
fn a_backend_stays_a_member_until_its_time_is_over() {
    let start = Instant::now();
    let mut rig = rig(Some(Removal::ResetAfter(2 * HALF)), start);
    assert_eq!(one(&mut rig), 0);
    let dump = rig.dump();
    assert!(
        dump.contains("-> 10.1.0.1:8080/TCP local\n  lets go of 10.1.0.2"),
        "{dump}"
    );
    assert_eq!(rig.engine.next_due(), Some(start + 2 * HALF));
    assert_eq!(at(&mut rig, start + HALF), 0);
    assert!(!rig.engine.is_stale(&pair(2)));
    // A change of the Service does not begin it anew.
    rig.put(web(Some(Removal::ResetAfter(3 * HALF))));
    assert_eq!(rig.engine.next_due(), Some(start + 3 * HALF));
    assert_eq!(at(&mut rig, start + 3 * HALF), 1);
    assert_eq!(rig.engine.next_due(), None);
    assert!(rig.engine.is_stale(&pair(2)) && !rig.engine.is_stale(&pair(1)));
    rig.empty();
}

#[test]
fn one_that_comes_back_in_time_was_never_away() {
    let start = Instant::now();
    let mut rig = rig(Some(Removal::Reset), start);
    let before = rig.dump();
    one(&mut rig);
    assert!(
        !rig.engine.is_stale(&pair(2)),
        "it may move from slice to slice"
    );
    two(&mut rig);
    assert_eq!(rig.engine.next_due(), None);
    assert_eq!(at(&mut rig, start + HALF), 0);
    assert_eq!(rig.dump(), before);
    rig.empty();
}

#[test]
fn another_agent_grants_the_time_anew() {
    let start = Instant::now();
    let mut rig = rig(Some(Removal::ResetAfter(HALF)), start);
    one(&mut rig);
    let mut again = rig.restart();
    again.engine.set_time(start + 2 * HALF);
    let ends = vec![endpoint("10.1.0.1", "here")];
    again.list(
        vec![web(Some(Removal::ResetAfter(HALF)))],
        vec![slice("web-1", ends)],
    );
    assert!(!again.engine.is_stale(&pair(2)));
    assert_eq!(again.engine.next_due(), Some(start + 3 * HALF));
    at(&mut again, start + 3 * HALF);
    assert!(again.engine.is_stale(&pair(2)));
    again.empty();
}

#[test]
fn without_a_policy_nothing_is_reset_until_there_is_one() {
    let start = Instant::now();
    let mut rig = rig(None, start);
    assert_eq!(one(&mut rig), 0);
    assert_eq!(rig.engine.next_due(), None);
    assert!(!rig.engine.is_stale(&pair(2)));
    assert_eq!(rig.put(web(Some(Removal::Reset))).connections_lost, 1);
    assert!(rig.engine.is_stale(&pair(2)));
    rig.put(web(Some(Removal::Keep)));
    assert!(!rig.engine.is_stale(&pair(2)));
    rig.empty();
}

#[test]
fn a_deleted_service_leaves_nothing_due() {
    let start = Instant::now();
    let mut rig = rig(Some(Removal::ResetAfter(HALF)), start);
    one(&mut rig);
    rig.list(vec![], vec![]);
    assert_eq!(rig.engine.next_due(), None);
    assert!(
        !rig.engine.is_stale(&pair(2)),
        "its policy has gone with it"
    );
    rig.empty();
}

#[test]
fn the_policy_of_another_service_at_the_same_address_is_not_the_sockets() {
    let start = Instant::now();
    for removal in [None, Some(Removal::Reset)] {
        let mut rig = rig(removal, start);
        let gone = key("web");
        rig.engine.handle(Event::ServiceGone(gone));
        let mut other = service("other", "10.96.0.1");
        other.removal = Some(Removal::Reset);
        rig.put(other);
        rig.put_slice(slice("other-1", vec![endpoint("10.1.0.9", "here")]));
        let index = pool(&rig, "other");
        assert_ne!(index, POOL);
        assert!(!rig.engine.is_stale(&pair(1)), "its pool has gone");
        let of_other = |m| Association {
            pool: index,
            ..pair(m)
        };
        assert!(rig.engine.is_stale(&of_other(1)) && !rig.engine.is_stale(&of_other(9)));
        rig.empty();
    }
}

#[test]
fn some_pool_resets_as_long_as_a_policy_says_so() {
    let start = Instant::now();
    let mut rig = rig(None, start);
    assert!(!rig.engine.resets());
    rig.put(web(Some(Removal::Reset)));
    assert!(rig.engine.resets());
    rig.put(web(Some(Removal::Keep)));
    assert!(!rig.engine.resets());
    rig.put(web(Some(Removal::Reset)));
    rig.engine.handle(Event::ServiceGone(key("web")));
    rig.sync();
    assert!(!rig.engine.resets());
    rig.empty();
}
