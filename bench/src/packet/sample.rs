//! The look at some packets of a row, by a receiver that computes every sum itself: a fast wrong
//! way must fail.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use testbed::{poll, probe::Frame};

use super::{
    Balanced, Row, TARGET,
    network::{BACKENDS, Network, backend},
    programs::{FIRST_SOURCE, SERVICES, Then},
};
use crate::client::Client;

/// Packets that are looked at, of as many flows.
const SAMPLE: u32 = 512;
/// Until all have arrived.
const ARRIVAL: Duration = Duration::from_secs(5);

/// Looks at one row, there and back.
pub(super) fn verify(
    network: &Network,
    client: &mut Client,
    row: &Row,
    of: Balanced,
) -> Result<()> {
    there(network, client, row, of)
        .with_context(|| format!("{}: packets to backends", row.name))?;
    back(network, client, row, of).with_context(|| format!("{}: packets to clients", row.name))
}

fn there(network: &Network, client: &mut Client, row: &Row, of: Balanced) -> Result<()> {
    let sink = row.sink();
    let recorder = row.receiver(network).record()?;
    sink.reset(Then::Pass)?;
    client.frames(&network.sandbox(), &row.sample, SAMPLE)?;
    arrived(sink)?;
    let backends: Vec<IpAddr> = (0..BACKENDS)
        .map(|k| backend(of.network, k).into())
        .collect();
    let frames = recorder.stop(&backends)?;
    sink.reset(Then::Drop)?;
    let sources: Vec<Ipv4Addr> = row
        .hop
        .addresses()
        .into_iter()
        .chain([FIRST_SOURCE])
        .collect();
    let mut reached = std::collections::BTreeSet::new();
    for frame in &frames {
        let Frame {
            from,
            to,
            ports,
            sums,
            ..
        } = frame;
        let from_ours = sources.iter().any(|source| IpAddr::V4(*source) == *from);
        ensure!(from_ours && sums.is_ok(), "{frame:?}");
        ensure!((TARGET..TARGET + SERVICES).contains(&ports.1), "{frame:?}");
        reached.insert((*to, ports.1));
    }
    ensure!(
        frames.len() == SAMPLE as usize,
        "{} of {SAMPLE} have arrived",
        frames.len()
    );
    // Of 256 backends, 512 choices leave some out; a quarter is never left out.
    let all = usize::from(BACKENDS) * usize::from(SERVICES);
    ensure!(
        reached.len() > all / 2,
        "only {} backends of {all} have got any",
        reached.len()
    );
    Ok(())
}

fn back(network: &Network, client: &mut Client, row: &Row, of: Balanced) -> Result<()> {
    let sink = &row.hop.at_client;
    let recorder = network.client.record()?;
    row.sink().reset(Then::Reflect)?;
    sink.reset(Then::Pass)?;
    client.frames(&network.sandbox(), &row.sample, SAMPLE)?;
    arrived(sink)?;
    let frames = recorder.stop(&[FIRST_SOURCE.into()])?;
    sink.reset(Then::Drop)?;
    row.sink().reset(Then::Drop)?;
    let node = IpAddr::V4(row.hop.node.addr().v4);
    for frame in &frames {
        let port = frame.ports.0;
        let from_vip = frame.from == node && (of.port..of.port + SERVICES).contains(&port);
        ensure!(from_vip && frame.sums.is_ok(), "{frame:?}");
    }
    ensure!(
        frames.len() == SAMPLE as usize,
        "{} of {SAMPLE} have come back",
        frames.len()
    );
    Ok(())
}

fn arrived(sink: &super::programs::Sink) -> Result<()> {
    poll::until(ARRIVAL, "the packets arrive", || {
        let count = sink.count()?;
        ensure!(count >= SAMPLE.into(), "{count} of {SAMPLE} have arrived");
        Ok(Some(()))
    })
}
