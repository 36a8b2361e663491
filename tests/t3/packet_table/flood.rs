//! Many clients at once: what they cost those that were there before.

use std::net::Ipv4Addr;

use anyhow::{Result, bail, ensure};
use lb_agent::maps::table::HashTable as _;
use lb_common::{Reason, affinity::AffinityKey};
use testbed::{addr::Both, probe::Family};

use crate::packet_table::{
    packet::{ACK, At, History, Packet, SYN, frame, net_offset, syn, tcp, udp},
    plan::{FAR, Peer, S_AFFINE},
    row::Hook,
    scene::Scene,
    stage::Node,
};

/// Entries of `lb_affinity` on the stage.
const CAPACITY: u16 = 1024;
/// What a pool may have before an agent has counted.
const FIRST_SHARE: usize = 64;
/// Clients whose connections are open.
const OPEN: u16 = 40;

/// A client behind the router, one of many.
fn client(net: u8, number: u16) -> Peer {
    let [a, b] = number.to_be_bytes();
    let addr = Both {
        v4: Ipv4Addr::new(net, 0, a, b),
        ..FAR.addr
    };
    Peer::new(addr, 40_000)
}

fn send(scene: &Scene, history: &mut History, packet: &Packet) -> Result<()> {
    let (At::Ingress(device) | At::Egress(device)) = packet.at else {
        bail!("not of a node device: {packet:?}");
    };
    let sent = frame(packet, Family::V4, device, history)?;
    let ran = scene.run(packet, Hook::Tc, device, &sent)?;
    let bytes = |frame: &[u8]| frame.get(net_offset(frame)..).unwrap_or_default().to_vec();
    history.at.get_or_insert(packet.at);
    history.packets.push((bytes(&sent), bytes(&ran.frame)));
    Ok(())
}

fn all(scene: &Scene, packets: &[Packet]) -> Result<()> {
    let mut history = History::default();
    packets
        .iter()
        .try_for_each(|packet| send(scene, &mut history, packet))
}

/// Handshakes of [`OPEN`] clients.
fn open(scene: &Scene) -> Result<()> {
    (0..OPEN).try_for_each(|number| {
        let asks = syn().from(client(12, number)).to(S_AFFINE.node_port());
        let answer = tcp(SYN | ACK).answer(FAR.way);
        all(scene, &[asks, answer, tcp(ACK).again()])
    })
}

/// Who is remembered, and for which backend.
fn remembered(scene: &Scene) -> Result<Vec<(AffinityKey, u32)>> {
    let records = scene.state.affinity.entries()?.into_iter();
    let mut records: Vec<_> = records.map(|(key, record)| (key, record.backend)).collect();
    records.sort_unstable();
    Ok(records)
}

fn on_the_stage(test: impl FnOnce(&Scene) -> Result<()> + Send) -> Result<()> {
    let node = Node::new()?;
    node.netns.block(|| {
        let mut scene = Scene::new(&node)?;
        scene.state.clear()?;
        test(&scene)
    })
}

#[test]
fn forged_clients_cost_no_client_its_affinity_record() -> Result<()> {
    on_the_stage(|scene| {
        open(scene)?;
        let before = remembered(scene)?;
        ensure!(before.len() == usize::from(OPEN), "{before:?}");
        for number in 0..8 * CAPACITY {
            let forged = client(11, number);
            let to = S_AFFINE.node_port();
            all(scene, &[syn().from(forged).to(to)])?;
            all(scene, &[udp().from(forged).to(to), udp().again()])?;
        }
        assert_eq!(remembered(scene)?, before);
        Ok(())
    })
}

#[test]
fn clients_of_one_service_do_not_drive_out_those_of_another() -> Result<()> {
    on_the_stage(|scene| {
        open(scene)?;
        let before = remembered(scene)?;
        let full = || -> Result<u64> {
            let all = scene.agent.counters()?.into_iter();
            let mut all = all.filter(|(reason, _)| *reason == Reason::AffinityShareFull);
            Ok(all.next().map_or(0, |(_, count)| count))
        };
        let counted = full()?;
        // Of the same port by another protocol: another pool.
        let others = 2 * CAPACITY;
        for number in 0..others {
            let asks = udp().from(client(13, number)).to(S_AFFINE.node_port());
            all(scene, &[asks, udp().answer(FAR.way)])?;
        }
        let after = remembered(scene)?;
        ensure!(before.iter().all(|one| after.contains(one)), "{after:?}");
        assert_eq!(after.len() - before.len(), FIRST_SHARE);
        assert_eq!(full()? - counted, u64::from(others) - FIRST_SHARE as u64);
        Ok(())
    })
}
