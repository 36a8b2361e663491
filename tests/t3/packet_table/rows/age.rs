//! Connections whose Service has a limit of age.

use anyhow::Result;
use lb_agent::flows::clock::monotonic;
use lb_common::{
    Reason::{PktForwarded, PktReply, PktReset},
    flow::units,
};
use testbed::probe::Family;

use crate::packet_table::{
    expect::{ANYTHING, TO_THE_CLIENT, to},
    packet::{ACK, FIN, Layer, SYN, syn, tcp},
    plan::FAR,
    row::{Row, row},
    scene::Scene,
};

const LIMIT_SECS: u32 = 30;
/// Longer than the limit and its half, in nanoseconds.
const LONG: u64 = 60_000_000_000;
/// Longer than a verification holds.
const SHORT: u64 = 1_000_000_000;

/// Every Service has had a limit for long.
fn limit(scene: &mut Scene, _: Family) -> Result<()> {
    let pools = &mut *scene.agent.maps().pools;
    for index in 0..pools.len() {
        let mut pool = pools.load(index)?;
        if pool.id != 0 {
            pool.max_age_secs = LIMIT_SECS;
            pool.aged_since = units(monotonic()).wrapping_sub(1000);
            pools.store(index, &pool)?;
        }
    }
    Ok(())
}

/// A connection that is open, before it was verified under the limit.
fn opened(sentence: &'static str) -> Row {
    row(sentence)
        .meanwhile(limit)
        .given(syn())
        .then(to(FAR), PktForwarded)
        .given(tcp(SYN | ACK).answer(FAR.way))
        .then(TO_THE_CLIENT, PktReply)
        .given(tcp(ACK).again())
        .then(to(FAR), PktForwarded)
}

/// The same, whose age counts.
fn dated(sentence: &'static str) -> Row {
    opened(sentence)
        .meanwhile(|scene, _| scene.state.elapse(SHORT))
        .given(tcp(ACK).again())
        .then(to(FAR), PktForwarded)
}

fn later(row: Row) -> Row {
    row.meanwhile(|scene, _| scene.state.elapse(LONG))
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        later(dated("a connection that is too old is ended"))
            .given(tcp(ACK).again())
            .then(ANYTHING, PktReset),
        later(dated(
            "a client that finishes a connection which is too old is heard",
        ))
        .given(tcp(FIN | ACK).again())
        .then(to(FAR), PktForwarded),
        later(
            dated("a connection whose server has finished ends by itself")
                .given(tcp(FIN | ACK).answer(FAR.way))
                .then(TO_THE_CLIENT, PktReply),
        )
        .given(tcp(ACK).again())
        .then(to(FAR), PktForwarded),
        later(opened(
            "the age of a connection counts from its first verification under a limit",
        ))
        .given(tcp(ACK).again())
        .then(to(FAR), PktForwarded),
        dated("a server's SYN-ACK that comes again is no age")
            .given(
                tcp(SYN | ACK)
                    .answer(FAR.way)
                    .edit(Layer::Transport, 4, &[0; 4]),
            )
            .then(TO_THE_CLIENT, PktReply)
            .meanwhile(|scene, _| scene.state.elapse(SHORT))
            .given(tcp(ACK).again())
            .then(to(FAR), PktForwarded),
    ]
}
