//! Maps of another capacity: what they carry over, and when they take the place of the old ones.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use lb_agent::{
    hooks::{attach::Attachments, cgroup::Cgroup as AgentCgroup},
    load,
    load::{OBJECT, Options},
    maps::{
        bpf,
        pinned::{Access, HashPin},
        table::ArrayTable as _,
    },
    settings::values::XdpMode,
};
use lb_common::{frontend::FrontendValue, maps::AGENT, slot::Slot, sock::Agent};

use super::active;
use crate::datapath::bare_node::{BareNode, key, switch, tc_mode};

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
