//! The key of the hashes that place flows.

use anyhow::{Context as _, Result};
use lb_common::{
    Addr,
    Reason::PktForwarded,
    hash::{HashKey, hash},
    select::scale,
};
use testbed::probe::Family;

use crate::packet_table::{
    expect::{to_another, to_one_of, to_the_first_of},
    packet::{syn, udp},
    plan::{Backend, CLIENT, FAR, FAR2, Peer, S_AFFINE, S_PAIR, Svc},
    row::{Row, row},
    scene::Scene,
};

const PAIR: &[Backend] = &[FAR, FAR2];
const UDP: u32 = 17;

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("another key places a datagram elsewhere, and the first one places it as before")
            .meanwhile(|scene, family| place(scene, &flow(family, S_PAIR), 0))
            .given(udp().to(S_PAIR.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .meanwhile(|scene, family| forget_and_place(scene, &flow(family, S_PAIR), 1))
            .given(udp().again())
            .then(to_another(PAIR), PktForwarded)
            .meanwhile(|scene, family| forget_and_place(scene, &flow(family, S_PAIR), 0))
            .given(udp().again())
            .then(to_the_first_of(PAIR), PktForwarded),
        row("a flow that is open stays with its backend when the key changes")
            .meanwhile(|scene, family| place(scene, &flow(family, S_PAIR), 0))
            .given(udp().to(S_PAIR.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .meanwhile(|scene, family| place(scene, &flow(family, S_PAIR), 1))
            .given(udp().again())
            .then(to_the_first_of(PAIR), PktForwarded),
        row("a client of session affinity that is not remembered is placed by the key")
            .meanwhile(|scene, family| place(scene, &client(family), 0))
            .given(syn().to(S_AFFINE.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .meanwhile(|scene, family| forget_and_place(scene, &client(family), 1))
            .given(syn().from(CLIENT.port(42_000)).to(S_AFFINE.node_port()))
            .then(to_another(PAIR), PktForwarded)
            .meanwhile(|scene, family| forget_and_place(scene, &client(family), 0))
            .given(syn().from(CLIENT.port(42_001)).to(S_AFFINE.node_port()))
            .then(to_the_first_of(PAIR), PktForwarded),
    ]
}

fn words(peer: Peer, family: Family) -> [u32; 4] {
    Addr::from(peer.ip(family)).words()
}

/// What the programs hash of [`CLIENT`]'s datagram to a node port.
fn flow(family: Family, to: Svc) -> Vec<u32> {
    let to = to.node_port();
    let ends = [words(CLIENT, family), words(to, family)].concat();
    let ports = u32::from(CLIENT.port) << 16 | u32::from(to.port);
    [ends, vec![ports, UDP]].concat()
}

/// What the programs hash of [`CLIENT`] alone.
fn client(family: Family) -> Vec<u32> {
    words(CLIENT, family).to_vec()
}

/// Writes a key under which these words choose that backend of two.
fn place(scene: &mut Scene, words: &[u32], choice: u16) -> Result<()> {
    let chooses = |key: &HashKey| {
        let hash = match words.len() {
            4 => hash::<4>(*key, std::array::from_fn(|i| words[i])),
            _ => hash::<10>(*key, std::array::from_fn(|i| words[i])),
        };
        scale(hash, 2) == choice
    };
    let mut keys = (0..64u8).map(|n| HashKey::of(&[n; 16]));
    let key = keys.find(chooses).context("none of 64 keys chooses it")?;
    scene.state.set_hash_key(key)
}

/// The same, once no flow and no client is remembered.
fn forget_and_place(scene: &mut Scene, words: &[u32], choice: u16) -> Result<()> {
    scene.state.clear()?;
    place(scene, words, choice)
}
