//! Leaves to netfilter the TCP and SCTP connections that were opened from outside through
//! kube-proxy: with an entry in `lb_flows` for each direction, the packet path passes their packets
//! instead of choosing a backend in the middle of a connection.
//!
//! At a takeover no stray segment is taken for one of ours, from before the first frontend is
//! written until every older connection has its entries.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use lb_common::{
    flow::{Flow, FlowKey, direction},
    maps,
};

use super::foreign::{self, Matter};
use crate::{
    flows::clock::monotonic,
    maps::{
        dir::BpfDir,
        pinned::{Access, HashPin},
        table::{Batch, HashTable as _},
    },
    netfilter::{
        Socket,
        conntrack::{self, Connection, Tuple},
    },
};

/// Who served the frontends before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takeover {
    /// No programs of ours: a stray segment belongs to a connection of kube-proxy's.
    Fresh,
    /// Programs of ours: a stray segment belongs to a connection of theirs, and they repair it.
    Resumed,
}

/// Called before any frontend is written. Returns how many connections were found.
pub fn begin(dir: &BpfDir, takeover: Takeover) -> Result<usize> {
    let mut flows = open(dir)?;
    if takeover == Takeover::Fresh {
        done(flows.insert(&[(FlowKey::ADOPTING, Flow::of_netfilter(1))]))?;
        // Which of them matter is not known yet.
        foreign::learn(dir, &Matter::All)?;
    } else if foreign::is_empty(dir)? {
        foreign::learn(dir, &Matter::of_pins(dir)?)?;
    }
    adopt(&mut flows, dir)
}

/// Called after every frontend was written: adopts connections that were opened meanwhile.
pub fn finish(dir: &BpfDir) -> Result<usize> {
    let mut flows = open(dir)?;
    let fresh = flows.map().get(&FlowKey::ADOPTING)?.is_some();
    let learnt = if fresh {
        Matter::of_pins(dir).and_then(|matter| foreign::learn(dir, &matter))
    } else {
        Ok(0)
    };
    let adopted = adopt(&mut flows, dir);
    done(flows.remove(&[FlowKey::ADOPTING]))?;
    learnt?;
    adopted
}

fn open(dir: &BpfDir) -> Result<HashPin<FlowKey, Flow>> {
    Ok(HashPin::open(dir, maps::FLOWS, Access::Write)?)
}

fn adopt(flows: &mut HashPin<FlowKey, Flow>, dir: &BpfDir) -> Result<usize> {
    let mut socket = Socket::open().context("open a socket to netfilter")?;
    let connections =
        conntrack::translated(&mut socket).context("list the connections that netfilter tracks")?;
    let room = usize::try_from(flows.capacity()).unwrap_or(usize::MAX) / 2;
    let mut entries = entries(&connections, monotonic());
    if !entries.is_empty() {
        // A client may have opened one of ours from the port of one that netfilter still tracks.
        let ours = ours(flows, dir)?;
        entries.retain(|(key, _)| !ours.contains(key));
    }
    if entries.len() > room {
        tracing::warn!(
            connections = entries.len() / 2,
            "kube-proxy has more connections than half of lb_flows holds: the rest may break, raise --map-capacity lb_flows=N"
        );
        entries.truncate(room);
    }
    done(flows.insert(&entries))?;
    Ok(entries.len() / 2)
}

/// The tuples that already have entries.
fn ours(flows: &HashPin<FlowKey, Flow>, dir: &BpfDir) -> Result<HashSet<FlowKey>> {
    let new: HashPin<FlowKey, Flow> = HashPin::open(dir, maps::NEWFLOWS, Access::Read)?;
    let all = flows.entries()?.into_iter().chain(new.entries()?);
    Ok(all
        .filter(|(_, flow)| flow.direction != direction::NETFILTER)
        .map(|(key, _)| key)
        .collect())
}

/// Two for each connection of TCP and SCTP.
fn entries(connections: &[Connection], now: u64) -> Vec<(FlowKey, Flow)> {
    connections
        .iter()
        .filter(|c| c.lasts())
        .flat_map(|c| [key(c.proto, &c.original), key(c.proto, &c.reply)])
        .map(|key| (key, Flow::of_netfilter(now)))
        .collect()
}

pub(super) fn key(proto: u8, tuple: &Tuple) -> FlowKey {
    FlowKey {
        src: tuple.src,
        dst: tuple.dst,
        sport: tuple.sport,
        dport: tuple.dport,
        proto,
        pad: [0; 3],
    }
}

pub(super) fn done(batch: Batch) -> Result<()> {
    batch.error.map_or(Ok(()), |e| Err(e.into()))
}
