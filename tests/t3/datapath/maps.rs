//! Maps and tables: their pins, batches, the barrier, and what a reader may not do.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use lb_agent::{
    hooks::{attach::Attachments, cgroup::Cgroup as AgentCgroup, cleanup},
    load,
    load::{OBJECT, Options},
    maps::{
        bpf,
        dir::BpfDir,
        pinned::{Access, ArrayPin, HashPin},
        stats::Stats,
        table::{ArrayTable as _, MapError, SourceRangeKey},
    },
    settings::values::XdpMode,
    sockets::recount::Recounted,
};
use lb_common::{
    Addr,
    frontend::FrontendValue,
    maps::{ACTIVE, AGENT, POOL_STATS},
    member::MemberKey,
    pool::Pool,
    slot::Slot,
    sock::Agent,
    srcrange::SourceRange,
};
use lb_sys::{Map, MappedArray};

use crate::datapath::bare_node::{BareNode, key, start, switch, tc_mode};

/// Open connections by backend id.
fn active(dir: &BpfDir) -> Result<ArrayPin<u64>> {
    Ok(ArrayPin::open(dir, ACTIVE, Access::Write)?)
}

#[test]
fn another_capacity_carries_the_contents_over_and_shows_only_after_the_switch() -> Result<()> {
    let bed = BareNode::new()?;
    let dir = bed.dir()?;
    let (running, mut maps) = bed.start(&[])?;
    let at = FrontendValue { pool: 3, flags: 1 };
    assert_eq!(maps.frontends.insert(&[(key(9), at)]).error, None);
    let slot = Slot {
        backend: 5,
        pool: 3,
    };
    maps.slots.store(77, &slot)?;
    active(&dir)?.add(5, 2)?;
    drop((running, maps));
    let old_agent: HashPin<u32, Agent> = HashPin::open(&dir, AGENT, Access::Write)?;
    old_agent.map().set(&0, &Agent::NONE)?;

    let options = Options {
        capacities: [("lb_slots".to_owned(), 4096)].into(),
        ..Options::default()
    };
    bed.netns.block(|| {
        let loaded = load::load(OBJECT, &dir, &options)?;
        ensure!(loaded.replaced.contains(&"lb_slots") && loaded.replaced.contains(&"lb_pools"));
        ensure!(
            !loaded.replaced.contains(&"lb_sk"),
            "state maps are never replaced"
        );
        let (ebpf, maps, commit) = loaded.split();
        ensure!(maps.slots.len() == 4096);
        ensure!(maps.slots.load(77)? == slot);
        ensure!(active(&dir)?.load(5)? == 2);
        ensure!(maps.frontends.entries()? == [(key(9), at)]);
        // Those who look still see what the running programs use.
        ensure!(bpf::open(&dir, Access::Read)?.slots.len() > 4096);
        drop((ebpf, maps, commit));
        // An agent that ends before its commit leaves the old maps in their places, one that ends
        // in its middle the new ones.
        let (ebpf, maps, commit) = load::load(OBJECT, &dir, &options)?.split();
        ensure!(bpf::open(&dir, Access::Read)?.slots.len() > 4096);
        active(&dir)?.add(5, 2)?;
        // The programs that run still are told who the agent is.
        let cgroup = AgentCgroup::open(Some(bed.cgroup.path()))?;
        let mut attachments = Attachments::new(ebpf, &dir, cgroup, tc_mode()?, XdpMode::Auto)?;
        attachments.register_agent()?;
        let told = old_agent.map().get(&0)?.context("one entry")?;
        ensure!(![0, Agent::CLAIM].contains(&told.tgid), "{told:?}");
        drop((attachments, maps, commit));
        fs::create_dir(dir.root().join("committing"))?;
        let loaded = load::load(OBJECT, &dir, &options)?;
        ensure!(loaded.replaced.is_empty(), "{:?}", loaded.replaced);
        ensure!(!dir.root().join("committing").exists());
        let (ebpf, _maps, commit) = loaded.split();
        ensure!(active(&dir)?.load(5)? == 4);
        switch(ebpf, &dir, bed.cgroup.path(), tc_mode()?, &[], commit)?;
        ensure!(bpf::open(&dir, Access::Read)?.slots.len() == 4096);
        Ok(())
    })?;
    // And a restart with the same capacity replaces nothing.
    bed.netns.block(|| {
        let loaded = load::load(OBJECT, &dir, &options)?;
        ensure!(loaded.replaced.is_empty(), "{:?}", loaded.replaced);
        Ok(())
    })
}

/// Gives the pins the names that agents before the maps were renamed gave them: a pin does not
/// carry its map's name.
fn as_formerly_named(dir: &BpfDir) -> Result<()> {
    for spec in lb_common::maps::ALL {
        if !spec.former.is_empty() {
            let former = dir.maps().join(spec.former);
            fs::rename(dir.map(spec), &former)
                .with_context(|| format!("rename to {}", former.display()))?;
        }
    }
    Ok(())
}

fn map_id(path: &Path) -> Result<u32> {
    Ok(lb_sys::map_info(lb_sys::open_pin(path)?)?.id)
}

const FORMER: [&str; 3] = ["lb_services", "lb_svc", "lb_svc_stats"];

#[test]
fn pins_under_former_names_are_taken_over_at_the_commit_with_what_they_hold() -> Result<()> {
    let bed = BareNode::new()?;
    let dir = bed.dir()?;
    let (running, mut maps) = bed.start(&[])?;
    let at = FrontendValue { pool: 3, flags: 1 };
    assert_eq!(maps.frontends.insert(&[(key(9), at)]).error, None);
    let pool = Pool {
        base: 77,
        count: 1,
        id: 3,
        ..Pool::EMPTY
    };
    maps.pools.store(3, &pool)?;
    active(&dir)?.add(5, 2)?;
    let stats = map_id(&dir.map(&POOL_STATS))?;
    drop((running, maps));
    as_formerly_named(&dir)?;

    let holds = |access| -> Result<()> {
        let maps = bpf::open(&dir, access)?;
        let active: ArrayPin<u64> = ArrayPin::open(&dir, ACTIVE, access)?;
        ensure!(maps.frontends.entries()? == [(key(9), at)]);
        ensure!(maps.pools.load(3)? == pool && active.load(5)? == 2);
        Ok(())
    };
    let options = Options::default();
    let load = || load::load(OBJECT, &dir, &options);
    // The agent before ended in the middle of a commit of its own.
    fs::create_dir(dir.root().join("committing"))?;
    let old_names = || FORMER.map(|name| dir.maps().join(name).exists());
    bed.netns.block(|| {
        // Verbs that only look read the pins as they are.
        holds(Access::Read)?;
        Stats::open(&dir)?.service(3)?;
        // An agent that ends before its commit leaves them as they are.
        for _ in 0..2 {
            let loaded = load()?;
            ensure!(loaded.replaced.contains(&"lb_pools") && loaded.replaced.contains(&"lb_slots"));
            ensure!(!loaded.replaced.contains(&"lb_pool_stats"));
            holds(Access::Write)?;
            ensure!(old_names() == [true, true, false], "{:?}", old_names());
            holds(Access::Read)?;
        }
        let (ebpf, maps, commit) = load()?.split();
        drop(maps);
        switch(ebpf, &dir, bed.cgroup.path(), tc_mode()?, &[], commit)?;
        ensure!(old_names() == [false; 3]);
        holds(Access::Read)?;
        ensure!(map_id(&dir.maps().join("lb_pool_stats"))? == stats);
        let replaced = load()?.replaced;
        ensure!(replaced.is_empty(), "{replaced:?}");
        Ok(())
    })
}

#[test]
fn an_end_in_the_middle_of_the_commit_is_made_good_and_cleanup_knows_former_names() -> Result<()> {
    let bed = BareNode::new()?;
    let dir = bed.dir()?;
    drop(bed.start(&[])?);
    let stats = map_id(&dir.map(&POOL_STATS))?;
    as_formerly_named(&dir)?;
    bed.netns.block(|| {
        let options = Options::default();
        drop(load::load(OBJECT, &dir, &options)?);
        // Some pins have their place and the others have not: the state map, and a config map of
        // either name.
        fs::create_dir(dir.root().join("committing"))?;
        for done in ["lb_active", "lb_backends", "lb_pools"] {
            let new = dir.maps().join(format!("{done}-new"));
            fs::rename(new, dir.maps().join(done))?;
        }
        fs::remove_file(dir.maps().join("lb_services"))?;
        let loaded = load::load(OBJECT, &dir, &options)?;
        ensure!(loaded.replaced.is_empty(), "{:?}", loaded.replaced);
        let stay = FORMER.map(|name| dir.maps().join(name).exists());
        ensure!(stay == [false; 3], "{stay:?}");
        ensure!(map_id(&dir.maps().join("lb_pool_stats"))? == stats);
        drop(loaded);
        as_formerly_named(&dir)?;
        cleanup::run(&dir)
    })?;
    ensure!(!dir.root().exists());
    Ok(())
}

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
        pad2: [0; 3],
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
fn the_recount_repairs_a_drift_that_stands() -> Result<()> {
    let bed = BareNode::new()?;
    let (running, _maps) = bed.start(&[])?;
    let mut recount = running.recount()?.context("no iterator")?;
    assert_eq!(recount.run()?, Recounted::default());
    let active = active(&bed.dir()?)?;
    active.add(5, 3)?;
    active.add(6, -1)?;
    let found = recount.run()?;
    assert_eq!((found.drift, found.repaired), (4, 0), "{found:?}");
    let found = recount.run()?;
    assert_eq!((found.drift, found.repaired), (4, 4), "{found:?}");
    assert_eq!((active.load(5)?, active.load(6)?), (0, 0));
    assert_eq!(recount.run()?, Recounted::default());
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

/// Twelve windows and a piece of one; see `lb-sys/src/mapped.rs`.
const ELEMENTS: u32 = 12 * 8192 + 77;

#[test]
fn a_large_array_is_read_and_written_everywhere_and_mapped_in_a_small_part() -> Result<()> {
    let fd = lb_sys::create_map(lb_sys::MapInfo {
        kind: 2,
        key_size: 4,
        value_size: 40,
        max_entries: ELEMENTS,
        flags: 1 << 10,
        ..lb_sys::MapInfo::default()
    })?;
    // A size that no other array of this process has.
    let array: MappedArray<[u64; 5]> = MappedArray::new(&fd, true)?;
    let map: Map<u32, [u64; 5]> = Map::new(fd)?;
    let value = |index: u32| [1, 2, 3, 4, 5].map(|n| n * u64::from(index));
    // Up, down, and to and fro, so that windows go and come again.
    let far = (0..ELEMENTS / 2).flat_map(|n| [n, ELEMENTS - 1 - n]);
    for index in (0..ELEMENTS).step_by(31).chain(far.step_by(17)) {
        array.store(index, &value(index))?;
        ensure!(array.load(index)? == value(index), "element {index}");
    }
    for index in (0..ELEMENTS).step_by(31) {
        ensure!(map.get(&index)? == Some(value(index)), "element {index}");
        ensure!(array.load(index)? == value(index), "element {index}");
    }
    ensure!(array.load(ELEMENTS).is_err() && array.store(ELEMENTS, &value(0)).is_err());
    let windows = mappings(8192 * 40)?;
    ensure!((1..=4).contains(&windows), "{windows} windows are mapped");
    Ok(())
}

#[test]
fn threads_that_share_an_array_get_each_their_own_element() -> Result<()> {
    let fd = lb_sys::create_map(lb_sys::MapInfo {
        kind: 2,
        key_size: 4,
        value_size: 8,
        max_entries: ELEMENTS,
        flags: 1 << 10,
        ..lb_sys::MapInfo::default()
    })?;
    let array: MappedArray<u64> = MappedArray::new(&fd, true)?;
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4)
            .map(|who| {
                let array = &array;
                scope.spawn(move || -> Result<()> {
                    for index in (who..ELEMENTS).step_by(4).step_by(101) {
                        array.store(index, &u64::from(index))?;
                        array.add(index, 1)?;
                        ensure!(array.load(index)? == u64::from(index) + 1, "{index}");
                    }
                    Ok(())
                })
            })
            .collect();
        all.into_iter().try_for_each(|one| {
            one.join()
                .unwrap_or_else(|_| anyhow::bail!("a thread panicked"))
        })
    })
}

/// Parts of arrays of so many bytes in this process.
fn mappings(bytes: u64) -> Result<usize> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let size = |line: &str| -> Option<u64> {
        let (from, rest) = line.split_once('-')?;
        let (to, _) = rest.split_once(' ')?;
        Some(u64::from_str_radix(to, 16).ok()? - u64::from_str_radix(from, 16).ok()?)
    };
    let arrays = maps.lines().filter(|line| line.ends_with("bpf-map"));
    Ok(arrays.filter(|line| size(line) == Some(bytes)).count())
}
