//! One process that looks on: it writes down what it asks for, and keeps the switch on as long as it
//! lives.

use std::{fs::File, time::Duration};

use anyhow::{Context as _, Result, bail};
use aya::{Pod, maps::lpm_trie::Key};
use lb_common::{
    Addr,
    frontend::VipKey,
    maps::{self, MapSpec},
    trace::{Filter, Hook, LASTS_NS, Rate, only, whole},
};
use lb_sys::{Map, map_info};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::ring::Ring;
use crate::{
    flows::clock::monotonic,
    maps::{
        dir::BpfDir,
        pinned::{self, Access, HashPin},
        table::HashTable as _,
    },
    model::Cidr,
};

/// How often [`Tracer::renew`] is to be called: several times while the switch stays on.
pub const RENEWED: Duration = Duration::from_secs(1);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where decisions are made.
    pub hooks: Vec<Hook>,
    /// Bits of reasons; see [`lb_common::trace::set`].
    pub reasons: u64,
    /// Frontends; `None`: all.
    pub vips: Option<Vec<Vip>>,
    /// Networks of clients; `None`: all.
    pub clients: Option<Vec<Cidr>>,
    /// Networks of backends; `None`: all.
    pub backends: Option<Vec<Cidr>>,
    /// Of backends; 0: all.
    pub backend_port: u16,
    /// Records a second; 0: no limit.
    pub limit: u32,
}

/// A frontend that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Vip {
    /// Address, port and protocol; a node port has the unspecified address of its family.
    Port(Addr, u16, u8),
    /// What is done with ports of the address that no Service has.
    UnknownPorts(Addr),
    /// Everything for this address.
    Whole(Addr),
}

/// The one process that looks on, until it is dropped.
#[derive(Debug)]
pub struct Tracer {
    _lock: Flock<File>,
    /// The word that turns the programs' records on, and the number of its map.
    switch: Map<u32, u64>,
    switch_id: u32,
    ring: Ring,
    rate: HashPin<u32, Rate>,
    netns: HashPin<u64, u32>,
}

impl Tracer {
    /// Turns the programs' records on.
    pub fn start(dir: &BpfDir, asked: &Asked) -> Result<Self> {
        if !dir.root().exists() {
            bail!("no agent has run with --bpf-dir {}", dir.root().display());
        }
        if !dir.trace_switch().exists() {
            bail!(
                "the programs of --bpf-dir {} are of an agent that does not know `trace`: upgrade it",
                dir.root().display()
            );
        }
        let lock = lock(dir)?;
        let switch = lb_sys::open_pin(&dir.trace_switch()).context("open the switch")?;
        let switch_id = map_info(&switch)?.id;
        let tracer = Self {
            _lock: lock,
            switch: Map::new(switch).context("open the switch")?,
            switch_id,
            ring: Ring::new(pinned::open(dir, &maps::TRACE_RING, Access::Write)?)?,
            rate: open(dir, maps::TRACE_RATE)?,
            netns: open(dir, maps::TRACE_NETNS)?,
        };
        tracer.fill(dir, asked)?;
        tracer.renew()?;
        Ok(tracer)
    }

    /// Writes down what is asked for, over what the process before has asked for.
    fn fill(&self, dir: &BpfDir, asked: &Asked) -> Result<()> {
        self.rate.map().set(&0, &Rate::default())?;
        let vips: Vec<(VipKey, u32)> = asked.vips.iter().flatten().map(entry).collect();
        let nets = |nets: &Option<Vec<Cidr>>| -> Vec<(Key<Addr>, u32)> {
            let all = nets.iter().flatten().map(|net| net.bits());
            all.map(|(addr, prefix)| (Key::new(u32::from(prefix), addr), 1))
                .collect()
        };
        replace(dir, maps::TRACE_VIPS, &vips)?;
        replace(dir, maps::TRACE_CLIENTS, &nets(&asked.clients))?;
        replace(dir, maps::TRACE_BACKENDS, &nets(&asked.backends))?;
        replace::<u64, u32>(dir, maps::TRACE_NETNS, &[])?;
        let mut flags = 0;
        for (is_asked, bit) in [
            (asked.vips.is_some(), only::VIPS),
            (asked.clients.is_some(), only::CLIENTS),
            (asked.backends.is_some(), only::BACKENDS),
        ] {
            flags |= if is_asked { bit } else { 0 };
        }
        let filter = Filter {
            reasons: asked.reasons,
            hooks: asked
                .hooks
                .iter()
                .fold(0, |all, hook| all | 1 << *hook as u32),
            flags,
            limit: asked.limit,
            backend_port: asked.backend_port.into(),
        };
        Ok(open::<u32, Filter>(dir, maps::TRACE_FILTER)?
            .map()
            .set(&0, &filter)?)
    }

    /// Keeps the switch on for some seconds more.
    pub fn renew(&self) -> Result<()> {
        let until = monotonic() + LASTS_NS;
        self.switch.set(&0, &until).context("turn the switch on")
    }

    /// Are the programs still those that the agent has attached?
    #[must_use]
    pub fn is_current(&self, dir: &BpfDir) -> bool {
        let now = lb_sys::open_pin(&dir.trace_switch()).and_then(map_info);
        now.is_ok_and(|now| now.id == self.switch_id)
    }

    /// The decisions, as they come.
    pub fn ring(&mut self) -> &mut Ring {
        &mut self.ring
    }

    /// What was left out until now.
    pub fn rate(&self) -> Result<Rate> {
        Ok(self.rate.map().get(&0)?.unwrap_or_default())
    }

    /// Admits sockets of the network namespace with this cookie, whatever their address.
    pub fn admit_netns(&self, cookie: u64) -> Result<()> {
        Ok(self.netns.map().set(&cookie, &1)?)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // The first program that finds it late does the same.
        let _ = self.switch.set(&0, &0);
    }
}

/// Fails if another process looks on.
fn lock(dir: &BpfDir) -> Result<Flock<File>> {
    let path = dir.trace();
    let folder = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(held),
        Err((_, Errno::EWOULDBLOCK)) => bail!(
            "another `lb-agent trace` looks on at this node: the kernel keeps the filter of one at a time, so end that one first"
        ),
        Err((_, e)) => Err(e).with_context(|| format!("lock {}", path.display())),
    }
}

fn open<K: Pod, V: Pod>(dir: &BpfDir, spec: MapSpec) -> Result<HashPin<K, V>> {
    Ok(HashPin::open(dir, spec, Access::Write)?)
}

fn entry(vip: &Vip) -> (VipKey, u32) {
    let (addr, port, proto, value) = match *vip {
        Vip::Port(addr, port, proto) => (addr, port, proto, 1),
        Vip::UnknownPorts(addr) => (addr, 0, 0, whole::UNKNOWN_PORTS),
        Vip::Whole(addr) => (addr, 0, 0, whole::ALL),
    };
    let key = VipKey {
        addr,
        port,
        proto,
        scope: 0,
    };
    (key, value)
}

/// Has the map hold these entries and no other.
fn replace<K: Pod, V: Pod>(dir: &BpfDir, spec: MapSpec, entries: &[(K, V)]) -> Result<()> {
    let mut map = open::<K, V>(dir, spec)?;
    let old: Vec<K> = map.entries()?.into_iter().map(|(key, _)| key).collect();
    for done in [map.remove(&old), map.insert(entries)] {
        if let Some(error) = done.error {
            return Err(error).context("write down what is asked for");
        }
    }
    Ok(())
}
