//! Which clients are remembered for session affinity.

use anyhow::{Result, ensure};
use lb_agent::maps::table::HashTable as _;
use lb_common::{
    Reason::{AffinityShareFull, PktForwarded, PktReply},
    affinity::AffinityShare,
};
use testbed::probe::Family;

use crate::packet_table::{
    expect::{TO_THE_CLIENT, to_one_of, to_the_first_of},
    packet::{ACK, SYN, syn, tcp, udp},
    plan::{Backend, CLIENT, FAR, FAR2, S_AFFINE},
    row::{Row, row},
    scene::Scene,
};

const PAIR: &[Backend] = &[FAR, FAR2];

pub(super) fn rows() -> Vec<Row> {
    let other = CLIENT.port(42_000);
    vec![
        row("a client that only asks for a connection is not remembered")
            .given(syn().to(S_AFFINE.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .given(tcp(SYN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .meanwhile(nobody_is_remembered)
            .given(syn().again())
            .then(to_the_first_of(PAIR), PktForwarded)
            .meanwhile(nobody_is_remembered)
            .given(syn().from(other).to(S_AFFINE.node_port()))
            .then(to_the_first_of(PAIR), PktForwarded),
        row("a client is remembered once it has shown that it saw what the backend sent")
            .given(syn().to(S_AFFINE.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .given(tcp(SYN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(tcp(ACK).again())
            .then(to_the_first_of(PAIR), PktForwarded)
            .meanwhile(one_is_remembered)
            .given(syn().from(other).to(S_AFFINE.node_port()))
            .then(to_the_first_of(PAIR), PktForwarded),
        row("a client whose datagrams nobody answers is not remembered")
            .given(udp().to(S_AFFINE.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .given(udp().again())
            .then(to_the_first_of(PAIR), PktForwarded)
            .times(3)
            .meanwhile(nobody_is_remembered)
            .given(udp().from(other).to(S_AFFINE.node_port()))
            .then(to_the_first_of(PAIR), PktForwarded),
        row("a client is remembered once its datagram is answered")
            .given(udp().to(S_AFFINE.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .given(udp().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .meanwhile(one_is_remembered)
            .given(udp().from(other).to(S_AFFINE.node_port()))
            .then(to_the_first_of(PAIR), PktForwarded),
        row("no client more is remembered than the share of the Service")
            .meanwhile(|scene, _| {
                let (records, share) = (1, 1);
                scene.state.set_shares(AffinityShare { records, share })
            })
            .given(udp().to(S_AFFINE.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .given(udp().answer(FAR.way))
            .then(TO_THE_CLIENT, [PktReply, AffinityShareFull])
            .meanwhile(nobody_is_remembered)
            .given(udp().from(other).to(S_AFFINE.node_port()))
            .then(to_the_first_of(PAIR), PktForwarded),
    ]
}

fn nobody_is_remembered(scene: &mut Scene, _: Family) -> Result<()> {
    are_remembered(scene, 0)
}

fn one_is_remembered(scene: &mut Scene, _: Family) -> Result<()> {
    are_remembered(scene, 1)
}

fn are_remembered(scene: &Scene, count: usize) -> Result<()> {
    let records = scene.state.affinity.entries()?;
    ensure!(records.len() == count, "{records:?} are remembered");
    Ok(())
}
