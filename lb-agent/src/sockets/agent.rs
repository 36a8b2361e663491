//! Which process is the agent: the programs never translate its sockets.

use anyhow::{Context as _, Result};
use lb_common::{maps, sock::Agent};
use lb_sys::Map;

use super::records::Records;
use crate::maps::{
    dir::BpfDir,
    pinned::{Access, HashPin},
};

/// Registers this process in `lb_agent`. The iterator program does it, so `records` is read once.
pub(crate) fn register(dir: &BpfDir, records: &Records) -> Result<()> {
    let agent: HashPin<u32, Agent> = HashPin::open(dir, maps::AGENT, Access::Write)?;
    let before = agent.map().get(&0)?.unwrap_or(Agent::NONE);
    let claim = Agent {
        tgid: Agent::CLAIM,
        ..before
    };
    let claimed = agent.map().set(&0, &claim);
    claimed.context("cannot write lb_agent")?;
    records.read()?;
    if dir.new_map(&maps::AGENT).exists()
        && let Some(registered) = agent.map().get(&0)?
        && let Err(error) = register_with_previous(dir, registered)
    {
        let error = format!("{error:#}");
        tracing::warn!(%error, "the previous agent's programs do not know this process until they are replaced");
    }
    Ok(())
}

/// The map is a new one. The previous agent's programs run until they are swapped, and they read
/// the old map.
fn register_with_previous(dir: &BpfDir, registered: Agent) -> Result<()> {
    let pin = dir.map(&maps::AGENT);
    if !pin.exists() {
        return Ok(());
    }
    let old: Map<u32, Agent> = Map::new(lb_sys::open_pin(&pin)?)?;
    let records_lost = old.get(&0)?.unwrap_or(Agent::NONE).records_lost;
    let agent = Agent {
        records_lost,
        ..registered
    };
    Ok(old.set(&0, &agent)?)
}
