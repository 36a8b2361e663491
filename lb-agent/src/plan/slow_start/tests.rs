use lb_common::Proto;
use proptest::prelude::*;

use super::*;
use crate::plan::{IpFamily, Member, PoolId, TrafficPolicy, slots};

fn pool(scheduler: Scheduler, weights: &[u16]) -> Pool {
    let member = |(n, weight): (u8, &u16)| Member {
        addr: Addr::v4([10, 1, 0, n]),
        port: 8080,
        flags: MemberFlags::SERVING
            .with(MemberFlags::ELIGIBLE, true)
            .weighing(*weight),
    };
    let mut pool = Pool {
        id: PoolId {
            port: "".into(),
            proto: Proto::Tcp,
            family: IpFamily::V4,
            policy: TrafficPolicy::Cluster,
        },
        scheduler: scheduler.number(),
        affinity_secs: 0,
        max_connections: 0,
        max_age_secs: 0,
        spill: None,
        grace: None,
        flags: 0,
        source_ranges: Box::default(),
        members: (1..).zip(weights).map(member).collect(),
        share: slots::share(1),
        slots: slots::Slots::default(),
        refused: None,
    };
    pool.set_slots();
    pool
}

/// Slots of each member, with the last one new.
fn turns(scheduler: Scheduler, weights: &[u16], parts: u8) -> Vec<usize> {
    let mut pool = pool(scheduler, weights);
    let last = pool.members[weights.len() - 1].addr;
    apply(&mut pool, |addr, _| (addr == last).then_some(parts));
    let mut turns = vec![0; weights.len()];
    for at in &pool.slots.members {
        turns[*at as usize] += 1;
    }
    turns
}

#[test]
fn a_new_member_has_its_parts_of_the_turns() {
    for scheduler in [Scheduler::Random, Scheduler::WeightedRoundRobin] {
        assert_eq!(turns(scheduler, &[100, 100, 100], 1), [10, 10, 1]);
        assert_eq!(turns(scheduler, &[100, 100, 100], 9), [10, 10, 9]);
        // Of weights as of those that are all alike, also of small ones.
        assert_eq!(turns(scheduler, &[200, 100, 300], 5), [4, 2, 3]);
        assert_eq!(turns(scheduler, &[1, 1], 3), [10, 3]);
        let large = turns(scheduler, &[65_535, 65_535], 1);
        assert_eq!((large[0] + large[1] / 2) / large[1], 10, "{large:?}");
    }
    let table = turns(Scheduler::Maglev, &[100, 100], 1);
    assert!(table[0] > 8 * table[1] && table[1] > 0, "{table:?}");
}

#[test]
fn a_new_member_weighs_its_parts_where_connections_are_counted() {
    for scheduler in [Scheduler::WeightedLeastConnections, Scheduler::TwoChoices] {
        let mut pool = pool(scheduler, &[100, 100]);
        let last = pool.members[1].addr;
        apply(&mut pool, |addr, _| (addr == last).then_some(2));
        assert_eq!(*pool.slots.weights, [1000, 200]);
        assert!(pool.flags & lb_common::pool::flags::WEIGHTED != 0);
        // What people are shown stays what the Service says.
        assert_eq!(pool.members[1].flags.weight(), 100);
    }
}

#[test]
fn all_new_ones_are_alike_and_nobody_new_changes_nothing() {
    let before = pool(Scheduler::Random, &[100, 100]);
    let mut after = before.clone();
    apply(&mut after, |_, _| None);
    assert_eq!(after, before);
    apply(&mut after, |_, _| Some(1));
    assert_eq!(after.slots, before.slots);
}

#[test]
fn a_scheduler_without_weights_says_so() {
    let told = |scheduler: &&Scheduler| problem(**scheduler).is_some();
    let names: Vec<&str> = Scheduler::ALL
        .iter()
        .filter(told)
        .map(|s| s.name())
        .collect();
    assert_eq!(names, ["rr", "lc", "sh"]);
    assert!(
        problem(Scheduler::SourceHash)
            .unwrap()
            .contains("scheduler sh")
    );
}

proptest! {
    /// Each member has a slot, and more parts never mean fewer.
    #[test]
    fn shares_grow(weights in prop::collection::vec(1_u16.., 2..40)) {
        let mut before = 0;
        for parts in 1..10 {
            let turns = turns(Scheduler::Random, &weights, parts);
            prop_assert!(turns.iter().all(|n| *n > 0));
            let sum: usize = turns.iter().sum();
            let share = turns[weights.len() - 1] * 1_000_000 / sum;
            prop_assert!(share + 2000 >= before, "{share} after {before}");
            before = share;
        }
    }
}
