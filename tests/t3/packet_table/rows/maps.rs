//! Maps that contradict each other: nothing is misrouted, and each case is counted once.

use anyhow::{Context as _, Result, ensure};
use lb_common::{
    Addr,
    Reason::{BadIndex, StaleSlot},
    backend::Backend,
    frontend::{FrontendValue, VipKey, scope},
    slot::Slot,
};
use testbed::probe::Family;

use crate::packet_table::{
    expect::DROPPED,
    packet::{At, syn, udp},
    plan::{FAR, POD, S_FAR},
    row::{Row, row},
    scene::Scene,
    stage::Place,
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("a slot of another Service, twice read, drops the packet")
            .meanwhile(foreign_slots)
            .given(syn().to(S_FAR.vip()))
            .then(DROPPED, StaleSlot)
            .records(Place::Nowhere),
        row("a slot whose backend was removed drops the packet")
            .meanwhile(|scene, family| backends(scene, family, |backend| backend.port = 0))
            .given(syn().to(S_FAR.vip()))
            .then(DROPPED, StaleSlot),
        row("a frontend whose index points nowhere drops the packet")
            .meanwhile(far_index)
            .given(syn().to(S_FAR.vip()))
            .then(DROPPED, BadIndex),
        row("a backend of another protocol drops the packet")
            .meanwhile(|scene, family| backends(scene, family, |backend| backend.proto = 17))
            .given(syn().to(S_FAR.vip()))
            .then(DROPPED, BadIndex),
        row("a backend of another family drops the packet")
            .meanwhile(|scene, family| {
                let turned = match family {
                    Family::V4 => turn_v4,
                    Family::V6 => turn_v6,
                };
                backends(scene, family, turned)
            })
            .given(syn().to(S_FAR.vip()))
            .then(DROPPED, BadIndex),
        row("a backend of another protocol drops a pod's datagram on lb0")
            .meanwhile(|scene, family| backends(scene, family, |backend| backend.proto = 6))
            .given(udp().from(POD).to(S_FAR.vip()).at(At::Lb0))
            .then(DROPPED, BadIndex),
    ]
}

fn turn_v4(backend: &mut Backend) {
    backend.addr = Addr::from(FAR.addr.ip(Family::V6));
}

fn turn_v6(backend: &mut Backend) {
    backend.addr = Addr::from(FAR.addr.ip(Family::V4));
}

/// Every slot belongs to a Service that is not there.
fn foreign_slots(scene: &mut Scene, _: Family) -> Result<()> {
    let slots = &mut *scene.agent.maps().slots;
    for index in 0..slots.len() {
        slots.store(index, &Slot::FREE)?;
    }
    Ok(())
}

/// Changes FAR's entries.
fn backends(scene: &mut Scene, family: Family, change: fn(&mut Backend)) -> Result<()> {
    let far = Addr::from(FAR.addr.ip(family));
    let backends = &mut *scene.agent.maps().backends;
    for id in 0..backends.len() {
        let mut backend = backends.load(id)?;
        if backend.addr == far {
            change(&mut backend);
            backends.store(id, &backend)?;
        }
    }
    Ok(())
}

/// S_FAR's frontend for TCP from outside leads behind the end of the map.
fn far_index(scene: &mut Scene, family: Family) -> Result<()> {
    let services = &mut *scene.agent.maps().frontends;
    let key = VipKey {
        addr: S_FAR.vip().ip(family).into(),
        port: 80,
        proto: 6,
        scope: scope::EXTERNAL,
    };
    let all = services.entries()?;
    let (_, found) = all
        .iter()
        .find(|(k, _)| *k == key)
        .context("no frontend of S_FAR")?;
    let away = FrontendValue {
        pool: 99_999,
        ..*found
    };
    let done = services.insert(&[(key, away)]);
    ensure!(done.error.is_none(), "{done:?}");
    Ok(())
}
