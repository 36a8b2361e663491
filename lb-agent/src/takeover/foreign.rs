//! Connections that are none of ours and older than the programs, or than a node port: learnt from
//! netfilter into `lb_foreign`, so that no flow takes their tuples, and no answer to them is taken
//! for a client's packet. What is opened later, the programs learn themselves.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use lb_common::{
    flow::{Flow, FlowKey, units},
    known, maps,
};

use super::{
    adopt::{done, key},
    connections::Frontends,
};
use crate::{
    flows::clock::monotonic,
    maps::{
        dir::BpfDir,
        pinned::{Access, ArrayPin, HashPin},
        table::{ArrayTable as _, HashTable as _},
    },
    netfilter::{
        Socket,
        conntrack::{self, Tuple},
    },
};

/// Whose tuples matter.
#[derive(Debug)]
pub enum Matter {
    /// Every connection's, where frontends and backends are not known yet.
    All,
    /// Those of backends' answers, and those that have a node port on our side.
    Known(KnownTuples),
    /// Those that have one of these ports on our side, each with the number of its protocol.
    Ports(HashSet<(u16, u8)>),
}

/// Backends and node ports by the pinned maps.
#[derive(Debug)]
pub struct KnownTuples {
    backends: ArrayPin<u64>,
    frontends: Frontends,
}

impl Matter {
    /// By the pinned maps; all, where an agent of before these maps has left its own.
    pub fn of_pins(dir: &BpfDir) -> Result<Self> {
        if !dir.map(&maps::KNOWN_BACKENDS).exists() {
            return Ok(Self::All);
        }
        Ok(Self::Known(KnownTuples {
            backends: ArrayPin::open(dir, maps::KNOWN_BACKENDS, Access::Read)?,
            frontends: Frontends::read(dir)?,
        }))
    }

    /// Asked of what answers a connection.
    fn has(&self, proto: u8, reply: &Tuple) -> bool {
        match self {
            Self::All => true,
            Self::Known(known) => known.has(proto, reply),
            Self::Ports(ports) => ports.contains(&(reply.dport, proto)),
        }
    }
}

impl KnownTuples {
    fn has(&self, proto: u8, reply: &Tuple) -> bool {
        let (word, bit) = known::bit(&reply.src);
        let may_be_backend = self.backends.load(word).is_ok_and(|bits| bits & bit != 0);
        may_be_backend || self.frontends.has_node_port(proto, reply)
    }
}

/// Is no connection known?
pub fn is_empty(dir: &BpfDir) -> Result<bool> {
    let foreign = open(dir, Access::Read)?;
    Ok(foreign.page(None, 1)?.entries.is_empty())
}

/// Learns the connections that netfilter tracks and leaves their destinations; returns how many.
pub fn learn(dir: &BpfDir, matter: &Matter) -> Result<usize> {
    let mut foreign = open(dir, Access::Write)?;
    let room = usize::try_from(foreign.capacity()).unwrap_or(usize::MAX) / 2;
    let mut found = Vec::new();
    let mut left_out = 0;
    let mut socket = Socket::open().context("open a socket to netfilter")?;
    conntrack::direct(&mut socket, |proto, reply| {
        if !matter.has(proto, &reply) {
            return;
        }
        if found.len() < room {
            found.push(key(proto, &reply));
        } else {
            left_out += 1;
        }
    })
    .context("list the connections that netfilter tracks")?;
    if left_out > 0 {
        tracing::warn!(
            left_out,
            "netfilter tracks more connections than half of lb_foreign holds: a flow may take the source port of one that is left out, raise --map-capacity lb_foreign=N"
        );
    }
    // Netfilter tracks what programs hand up the stack too. Their entries are older than its own,
    // so they are looked up now.
    let ours: Vec<HashPin<FlowKey, Flow>> = [maps::FLOWS, maps::NEWFLOWS]
        .into_iter()
        .map(|spec| HashPin::open(dir, spec, Access::Read))
        .collect::<Result<_, _>>()?;
    let mut entries = Vec::with_capacity(found.len());
    let now = units(monotonic());
    for key in found {
        let mut is_ours = false;
        for table in &ours {
            is_ours |= table.map().get(&key)?.is_some();
        }
        if !is_ours {
            entries.push((key, now));
        }
    }
    done(foreign.insert(&entries))?;
    Ok(entries.len())
}

fn open(dir: &BpfDir, access: Access) -> Result<HashPin<FlowKey, u32>> {
    Ok(HashPin::open(dir, maps::FOREIGN, access)?)
}
