//! Pins under the names of agents before the maps were renamed.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use lb_agent::{
    hooks::cleanup,
    load,
    load::{OBJECT, Options},
    maps::{
        bpf,
        dir::BpfDir,
        pinned::{Access, ArrayPin},
        stats::Stats,
        table::ArrayTable as _,
    },
};
use lb_common::{
    frontend::FrontendValue,
    maps::{ACTIVE, POOL_STATS},
    pool::Pool,
};

use super::active;
use crate::datapath::bare_node::{BareNode, key, switch, tc_mode};

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
