//! What happens to records between the packets of a row.

use anyhow::{Context as _, Result, ensure};
use lb_agent::{
    flows::clock::monotonic,
    maps::{
        pinned::{Access, ArrayPin},
        table::{ArrayTable as _, HashTable as _},
    },
};
use lb_common::{
    Addr,
    flow::{Flow, FlowKey, direction},
    handshakes::Handshakes,
    maps,
};
use testbed::probe::Family;

use crate::packet_table::{
    plan::{CLIENT, FAR, FAR2, S_FAR},
    scene::Scene,
};

/// FAR's number of this protocol is FAR2's from now on.
pub(super) fn give_number_away(scene: &mut Scene, family: Family, proto: u8) -> Result<()> {
    let old = Addr::from(FAR.addr.ip(family));
    let backends = &mut *scene.agent.maps().backends;
    for id in 0..backends.len() {
        let mut backend = backends.load(id)?;
        if backend.addr == old && backend.proto == proto {
            backend.addr = Addr::from(FAR2.addr.ip(family));
            backends.store(id, &backend)?;
        }
    }
    Ok(())
}

/// Every pool is watched; nothing was counted yet.
pub(super) fn watch(scene: &mut Scene, _: Family) -> Result<()> {
    let pools = &mut *scene.agent.maps().pools;
    for index in 0..pools.len() {
        let mut pool = pools.load(index)?;
        if pool.id != 0 {
            pool.flags |= lb_common::pool::flags::WATCHED;
            pools.store(index, &pool)?;
        }
    }
    let mut counts = counts(scene)?;
    for id in 0..counts.len() {
        counts.store(id, &Handshakes::default())?;
    }
    Ok(())
}

/// So many have failed, and so many were answered, of all backends together.
pub(super) fn handshakes(scene: &mut Scene, failed: u32, answered: u32) -> Result<()> {
    let counts = counts(scene)?;
    let mut sum = Handshakes::default();
    for id in 0..counts.len() {
        let of_one = counts.load(id)?;
        sum.failed += of_one.failed;
        sum.answered += of_one.answered;
    }
    ensure!(sum == Handshakes { failed, answered }, "{sum:?}");
    Ok(())
}

fn counts(scene: &Scene) -> Result<ArrayPin<Handshakes>> {
    let dir = scene.agent.dir();
    Ok(ArrayPin::open(dir, maps::HANDSHAKES, Access::Write)?)
}

/// Removes the records of one direction.
pub(super) fn forget(scene: &mut Scene, which: u8) -> Result<()> {
    for map in [&mut scene.state.new, &mut scene.state.established] {
        let all = map.entries()?.into_iter();
        let keys: Vec<_> = all
            .filter(|(_, flow)| flow.direction == which)
            .map(|(key, _)| key)
            .collect();
        if !keys.is_empty() {
            let done = map.remove(&keys);
            ensure!(done.error.is_none(), "{done:?}");
        }
    }
    Ok(())
}

/// The one flow's Service and backend.
fn flow(scene: &Scene) -> Result<Flow> {
    let new = scene.state.new.entries()?.into_iter();
    let mut all = new.chain(scene.state.established.entries()?);
    let found = all.find(|(_, flow)| flow.direction == direction::FORWARD);
    found.map(|(_, flow)| flow).context("no flow yet")
}

/// The backend of the one flow is no member any more, and its slots are the other one's.
pub(super) fn stop_first(scene: &mut Scene, _: Family) -> Result<()> {
    let Flow {
        pool: service,
        backend,
        ..
    } = flow(scene)?;
    let other = other_slot(scene, service, backend)?;
    let maps = scene.agent.maps();
    let key = lb_common::member::MemberKey {
        pool: service,
        backend,
    };
    let done = maps.members.remove(&[key]);
    ensure!(done.error.is_none(), "{done:?}");
    let slots = &mut *maps.slots;
    for index in 0..slots.len() {
        let mut slot = slots.load(index)?;
        if slot.pool == service && slot.backend == backend {
            slot.backend = other;
            slots.store(index, &slot)?;
        }
    }
    Ok(())
}

/// The Service's other backend.
fn other_slot(scene: &mut Scene, service: u32, backend: u32) -> Result<u32> {
    let slots = &mut *scene.agent.maps().slots;
    for index in 0..slots.len() {
        let slot = slots.load(index)?;
        if slot.pool == service && slot.backend != backend {
            return Ok(slot.backend);
        }
    }
    anyhow::bail!("the Service has one backend alone")
}

/// Another CPU's clock is a little ahead.
pub(super) fn a_moment_later(scene: &mut Scene, _: Family) -> Result<()> {
    let records = scene.state.affinity.entries()?;
    let (key, mut record) = *records.first().context("no affinity record")?;
    record.last_used_ns = monotonic() + 1_000_000_000;
    let done = scene.state.affinity.insert(&[(key, record)]);
    ensure!(done.error.is_none(), "{done:?}");
    Ok(())
}

/// The record names the other backend, and another CPU's time.
pub(super) fn remember_the_other_a_moment_later(scene: &mut Scene, family: Family) -> Result<()> {
    let records = scene.state.affinity.entries()?;
    let (key, mut record) = *records.first().context("no affinity record")?;
    record.backend = other_slot(scene, key.pool, record.backend)?;
    let done = scene.state.affinity.insert(&[(key, record)]);
    ensure!(done.error.is_none(), "{done:?}");
    a_moment_later(scene, family)
}

fn put(scene: &mut Scene, key: FlowKey, flow: Flow) -> Result<()> {
    let done = scene.state.established.insert(&[(key, flow)]);
    ensure!(done.error.is_none(), "{done:?}");
    Ok(())
}

/// The client's connection to S_FAR's node port is netfilter's.
pub(super) fn netfilter(scene: &mut Scene, family: Family) -> Result<()> {
    let (client, port) = (CLIENT, S_FAR.node_port());
    let key = FlowKey {
        src: client.ip(family).into(),
        dst: port.ip(family).into(),
        sport: client.port,
        dport: port.port,
        proto: 6,
        pad: [0; 3],
    };
    put(scene, key, Flow::of_netfilter(monotonic()))
}

pub(super) fn adopt(scene: &mut Scene) -> Result<()> {
    put(scene, FlowKey::ADOPTING, Flow::of_netfilter(monotonic()))
}
