//! One process that looks on: it writes down what it asks for, and keeps the switch on as long as it
//! lives.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aya::{Pod, maps::lpm_trie::Key};
use lb_common::{
    Addr,
    frontend::VipKey,
    maps::{self, MapSpec},
    trace::{Filter, Hook, LASTS_NS, Rate, only, whole},
};
use lb_sys::{Map, map_info};
use nix::libc::E2BIG;

use super::ring::Ring;
use crate::{
    flows::clock::monotonic,
    hooks::trace_switch,
    maps::{
        dir::BpfDir,
        lock::DirLock,
        pinned::{self, Access, HashPin},
        table::HashTable as _,
    },
    model::Cidr,
};

/// How often [`Tracer::renew`] is to be called: several times while the switch stays on.
pub const RENEWED: Duration = Duration::from_secs(1);

/// A switch that stays on for less than this may be found late at any moment, in nanoseconds.
const SPARE_NS: u64 = LASTS_NS / 4;

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    _lock: DirLock,
    dir: BpfDir,
    /// The word that turns the programs' records on, and the number of its map.
    switch: Map<u32, u64>,
    switch_id: u32,
    filter: HashPin<u32, Filter>,
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
        let unknown = || {
            format!(
                "the programs of --bpf-dir {} are of an agent that does not know `trace`: upgrade it",
                dir.root().display()
            )
        };
        if !dir.trace_switch().exists() {
            bail!(unknown());
        }
        let lock = DirLock::take_trace(dir)?;
        let switch = lb_sys::open_pin(&dir.trace_switch()).context("open the switch")?;
        let switch_id = map_info(&switch)?.id;
        if !trace_switch::is_read_by_programs(dir, switch_id) {
            bail!(unknown());
        }
        let tracer = Self {
            _lock: lock,
            dir: dir.clone(),
            switch: Map::new(switch).context("open the switch")?,
            switch_id,
            filter: open(dir, maps::TRACE_FILTER)?,
            ring: Ring::new(pinned::open(dir, &maps::TRACE_RING, Access::Write)?)?,
            rate: open(dir, maps::TRACE_RATE)?,
            netns: open(dir, maps::TRACE_NETNS)?,
        };
        tracer.rate.map().set(&0, &Rate::default())?;
        replace::<u64, u32>(dir, maps::TRACE_NETNS, &[])?;
        tracer.ask(asked)?;
        tracer.begin_session(monotonic())?;
        tracer.renew()?;
        Ok(tracer)
    }

    /// Writes down what is asked for, over what was asked for before.
    pub fn ask(&self, asked: &Asked) -> Result<()> {
        let dir = &self.dir;
        let vips: Vec<(VipKey, u32)> = asked.vips.iter().flatten().map(entry).collect();
        let nets = |nets: &Option<Vec<Cidr>>| -> Vec<(Key<Addr>, u32)> {
            let all = nets.iter().flatten().map(|net| net.bits());
            all.map(|(addr, prefix)| (Key::new(u32::from(prefix), addr), 1))
                .collect()
        };
        replace(dir, maps::TRACE_VIPS, &vips)?;
        replace(dir, maps::TRACE_CLIENTS, &nets(&asked.clients))?;
        replace(dir, maps::TRACE_BACKENDS, &nets(&asked.backends))?;
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
            ..self.filter()?
        };
        Ok(self.filter.map().set(&0, &filter)?)
    }

    /// The filter that the programs have.
    fn filter(&self) -> Result<Filter> {
        Ok(self.filter.map().get(&0)?.unwrap_or_default())
    }

    /// Keeps the switch on for some seconds more. Where it was off, or programs may turn it off while
    /// this runs, another session begins: they may have been in the middle of a run.
    pub fn renew(&self) -> Result<()> {
        let now = monotonic();
        let was = self.switch.get(&0)?.unwrap_or_default();
        if was < now + SPARE_NS {
            self.begin_session(now)?;
        }
        let until = now + LASTS_NS;
        self.switch.set(&0, &until).context("turn the switch on")
    }

    fn begin_session(&self, now_ns: u64) -> Result<()> {
        // A number of its own, in units of 2²⁰ ns.
        let session = u32::try_from(now_ns >> 20 & u64::from(u32::MAX)).unwrap_or_default();
        let filter = Filter {
            session: session.max(1),
            ..self.filter()?
        };
        Ok(self.filter.map().set(&0, &filter)?)
    }

    /// Are the programs still those that the agent has attached?
    #[must_use]
    pub fn is_current(&self) -> bool {
        let now = lb_sys::open_pin(&self.dir.trace_switch()).and_then(map_info);
        now.is_ok_and(|now| now.id == self.switch_id)
            && trace_switch::is_read_by_programs(&self.dir, self.switch_id)
    }

    /// The decisions, as they come.
    pub fn ring(&mut self) -> &mut Ring {
        &mut self.ring
    }

    /// What was left out until now.
    pub fn rate(&self) -> Result<Rate> {
        Ok(self.rate.map().get(&0)?.unwrap_or_default())
    }

    /// Admits sockets of the network namespaces with these cookies, and of no other, whatever their
    /// address. Returns how many found no room.
    pub fn admit_netns(&mut self, cookies: &[u64]) -> Result<usize> {
        let known: Vec<u64> = self.netns.entries()?.iter().map(|(c, _)| *c).collect();
        let gone: Vec<u64> = known
            .iter()
            .copied()
            .filter(|cookie| !cookies.contains(cookie))
            .collect();
        if let Some(error) = self.netns.remove(&gone).error {
            return Err(error).context("forget network namespaces");
        }
        let mut left_out = 0;
        for cookie in cookies.iter().filter(|cookie| !known.contains(cookie)) {
            match self.netns.map().set(cookie, &1) {
                Err(error) if error.errno() == Some(E2BIG) => left_out += 1,
                set => set.context("admit a network namespace")?,
            }
        }
        Ok(left_out)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // The first program that finds it late does the same.
        let _ = self.switch.set(&0, &0);
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
