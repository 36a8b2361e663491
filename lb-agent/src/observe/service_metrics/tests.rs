mod backends;
mod size;

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::Duration,
};

use lb_common::{Proto, stats::PoolStats};

use super::{
    backends::Backend,
    ports::{Pool, Port, carried},
    sums::{Counts, added},
    zones::Zone,
    *,
};
use crate::{
    maps::tcp::TcpCounts,
    model::{BackendState, ObjectKey},
};

fn counts(connections: u64) -> Counts {
    Counts {
        stats: PoolStats {
            connections,
            ..PoolStats::default()
        },
        // Every other count goes the same way.
        tcp: TcpCounts {
            retransmits: connections,
            ..TcpCounts::default()
        },
    }
}

const fn backend(id: u32, state: BackendState, zone: Zone) -> Backend {
    Backend { id, state, zone }
}

fn port(pools: &[(u32, u64)], total: u64) -> Port {
    Port {
        name: "http".into(),
        protocol: Proto::Tcp,
        pools: pools
            .iter()
            .map(|(index, counted)| Pool {
                index: *index,
                counted: counts(*counted),
                since: 0,
            })
            .collect(),
        backends: [backend(7, BackendState::Ready, Zone::NONE)].into(),
        total: counts(total),
    }
}

#[test]
fn a_sum_goes_on_when_pools_come_and_go_and_begin_anew() {
    assert_eq!(added(counts(10), counts(3), counts(5)), counts(12));
    // Zeroed meanwhile.
    assert_eq!(added(counts(10), counts(3), counts(2)), counts(12));
    let before = vec![port(&[(1, 5), (2, 7)], 12)];
    let now = carried(before, vec![port(&[(2, 0), (3, 0)], 0)]);
    assert_eq!(now[0].total, counts(12));
    let pools: Vec<_> = now[0].pools.iter().map(|p| (p.index, p.counted)).collect();
    assert_eq!(pools, [(2, counts(7)), (3, counts(0))]);
}

fn of_one_port(pool: u32) -> ServiceCounters {
    let dir = BpfDir::at(Path::new("/nowhere"));
    let counters = ServiceCounters::new(dir, ServiceMetrics::Most(10)).unwrap();
    let web = ObjectKey::new("shop", "web");
    counters
        .services()
        .replace(&web, vec![port(&[(pool, 0)], 0)]);
    counters
}

#[test]
fn scrapes_at_once_count_nothing_twice() {
    let counters = of_one_port(1);
    let kernel = AtomicU64::new(1000);
    let scrape = || {
        let read = |pools: &[u32]| {
            let now = kernel.fetch_add(1, SeqCst) + 1;
            // The others may read more meanwhile, and the event loop goes on.
            thread::sleep(Duration::from_millis(1));
            drop(counters.services());
            Ok(pools.iter().map(|pool| (*pool, counts(now))).collect())
        };
        for _ in 0..10 {
            counters.sums_of(read, |_| 0).unwrap();
        }
    };
    thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(scrape);
        }
    });
    let read = |_: &[u32]| Ok(Vec::new());
    let (sums, _) = counters.sums_of(read, |_| 0).unwrap();
    assert_eq!(sums[0].total, counts(kernel.load(SeqCst)));
}

#[test]
fn pools_of_a_former_agent_begin_at_zero() {
    let counters = of_one_port(1);
    let (early, web) = (
        ObjectKey::new("shop", "early"),
        ObjectKey::new("shop", "web"),
    );
    let read = |_: &[u32]| Ok(vec![(1, counts(1000)), (2, counts(3))]);
    {
        let mut services = counters.services();
        services.replace(&early, vec![port(&[(2, 0)], 0)]);
        services.generation += 1;
        services.ports.remove(&web);
        services.replace(&web, vec![port(&[(1, 0)], 0)]);
        services.begin(10, read).unwrap();
    }
    let (sums, _) = counters.sums_of(read, |_| 0).unwrap();
    let totals = |sums: &[Sum]| [sums[0].total, sums[1].total];
    // One of this agent's own has counted since it was made.
    assert_eq!(totals(&sums), [counts(3), counts(0)]);
    let read = |_: &[u32]| Ok(vec![(1, counts(1001)), (2, counts(3))]);
    let (sums, _) = counters.sums_of(read, |_| 0).unwrap();
    assert_eq!(totals(&sums), [counts(3), counts(1)]);
}

#[test]
fn what_was_read_of_a_former_owner_is_not_the_next_ones() {
    let counters = of_one_port(1);
    let (web, db) = (ObjectKey::new("shop", "web"), ObjectKey::new("shop", "db"));
    let read = |_: &[u32]| {
        // A sync ends meanwhile: the pool is another Service's.
        let mut services = counters.services();
        services.generation += 1;
        services.replace(&web, vec![port(&[(2, 0)], 0)]);
        services.replace(&db, vec![port(&[(1, 0)], 0)]);
        Ok(vec![(1, counts(1000))])
    };
    let totals = |sums: Vec<Sum>| -> Vec<u64> {
        let all = sums.iter().map(|sum| sum.total.stats.connections);
        all.collect()
    };
    let (sums, _) = counters.sums_of(read, |_| 0).unwrap();
    assert_eq!(totals(sums), [0, 0]);
    let read = |_: &[u32]| Ok(vec![(1, counts(3)), (2, counts(4))]);
    let (sums, _) = counters.sums_of(read, |_| 0).unwrap();
    assert_eq!(totals(sums), [3, 4]);
}
