//! Tables: batches, the barrier, and what a reader may not do.

use std::path::Path;

use anyhow::Result;
use lb_agent::{
    load::Options,
    maps::{
        bpf,
        dir::BpfDir,
        pinned::Access,
        stats::Stats,
        table::{MapError, SourceRangeKey},
    },
};
use lb_common::{
    Addr, frontend::FrontendValue, member::MemberKey, pool::Pool, slot::Slot, srcrange::SourceRange,
};

use crate::datapath::bare_node::{BareNode, key, start, tc_mode};

#[test]
fn tables_do_batches_and_say_what_failed() -> Result<()> {
    let bed = BareNode::new()?;
    let options = Options {
        capacities: [("lb_members".to_owned(), 1000)].into(),
        ..Options::default()
    };
    let (_running, mut maps) = bed.netns.block(|| {
        start(
            bed.pins.path(),
            bed.cgroup.path(),
            &options,
            tc_mode()?,
            &[],
        )
    })?;
    let member = |backend| MemberKey { pool: 1, backend };
    let many: Vec<_> = (0..900u32).map(|n| (member(n), n)).collect();
    let done = maps.members.insert(&many);
    assert_eq!((done.done, done.error), (900, None));
    let mut read = maps.members.entries()?;
    read.sort_unstable();
    assert_eq!(read, many);

    // Full: what fits is done, and the error names the map.
    let more: Vec<_> = (2000..2300u32).map(|n| (member(n), n)).collect();
    let done = maps.members.insert(&more);
    assert_eq!(done.done, 100);
    assert_eq!(
        done.error,
        Some(MapError::Full {
            map: "lb_members",
            capacity: 1000
        })
    );

    // A missing key in the middle counts as done.
    let keys: Vec<_> = (0..900u32)
        .chain([5, 6, 77_777])
        .chain(2000..2100)
        .map(member)
        .collect();
    let done = maps.members.remove(&keys);
    assert_eq!((done.done, done.error), (keys.len(), None));
    assert_eq!(maps.members.entries()?, []);

    // A trie.
    let range = |n: u8, bits: u32| SourceRangeKey {
        prefix_len: 32 + 96 + bits,
        data: SourceRange {
            pool: 4,
            addr: Addr::v4([n, 0, 0, 0]),
        },
    };
    let ranges = [(range(10, 8), 1), (range(11, 16), 1), (range(12, 32), 1)];
    let done = maps.srcranges.insert(&ranges);
    assert_eq!((done.done, done.error), (3, None));
    let mut read = maps.srcranges.entries()?;
    read.sort_unstable();
    assert_eq!(read, ranges);
    let done = maps
        .srcranges
        .remove(&[range(10, 8), range(99, 8), range(11, 16)]);
    assert_eq!((done.done, done.error), (3, None));
    assert_eq!(maps.srcranges.entries()?, [ranges[2]]);

    // Arrays: whole elements, seen by another mapping at once.
    let service = Pool {
        base: 100,
        count: 3,
        generation: 9,
        affinity_secs: 10_800,
        scheduler: 1,
        pad: 0,
        flags: 1,
        id: 5,
        max_connections: 5,
        max_age_secs: 0,
        aged_since: 0,
    };
    maps.pools.store(5, &service)?;
    let looking = bpf::open(&bed.dir()?, Access::Read)?;
    assert_eq!(looking.pools.load(5)?, service);
    let len = maps.pools.len();
    assert!(matches!(
        maps.pools.store(len, &service),
        Err(MapError::Full {
            map: "lb_pools",
            ..
        })
    ));
    Ok(())
}

#[test]
fn those_who_look_cannot_write() -> Result<()> {
    let bed = BareNode::new()?;
    let (running, maps) = bed.start(&[])?;
    drop((running, maps));
    // No agent is left, only pins.
    let dir = bed.dir()?;
    let mut looking = bpf::open(&dir, Access::Read)?;
    let done = looking
        .frontends
        .insert(&[(key(1), FrontendValue { pool: 0, flags: 0 })]);
    assert_eq!(done.done, 0);
    assert!(done.error.is_some());
    let slot = Slot::FREE;
    assert!(looking.slots.store(0, &slot).is_err());
    assert!(looking.programs.barrier().is_err());
    let stats = Stats::open(&dir)?;
    assert_eq!(stats.reasons()?.len(), lb_common::Reason::ALL.len());
    assert_eq!(stats.service(0)?, lb_common::stats::PoolStats::default());

    let nowhere = BpfDir::at(&bed.pins.path().join("nowhere"));
    let said = bpf::open(&nowhere, Access::Read).unwrap_err().to_string();
    assert!(
        said.contains("no agent has run with this --bpf-dir"),
        "{said}"
    );
    let said = format!(
        "{:#}",
        BpfDir::create(Path::new("/tmp/lbt-no-bpffs")).unwrap_err()
    );
    assert!(said.contains("mount -t bpf bpf /sys/fs/bpf"), "{said}");
    Ok(())
}

#[test]
fn the_barrier_waits() -> Result<()> {
    let bed = BareNode::new()?;
    let (_running, mut maps) = bed.start(&[])?;
    for _ in 0..3 {
        maps.programs.barrier()?;
    }
    Ok(())
}
