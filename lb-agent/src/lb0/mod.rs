//! `lb0`: the agent's own device that service addresses are routed to, for packets that no socket
//! hook saw. This room writes the pair of devices, their routes, and the rules that lead there;
//! the programs on them are attached by [`crate::hooks`].

pub mod desired;
mod device;
mod follow;
mod routes;
mod rules;

use anyhow::{Context as _, Result};
pub use desired::Desired;
pub use follow::{PairStatus, follow};

use crate::{model::VethPair, netlink::Connection};

/// Runs `work` on a runtime of its own: for verbs, which have none.
pub fn blocking<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(work)
}

/// How many networks are routed to the device; `None` if it does not exist. Fails if its name
/// belongs to a device of another owner.
pub async fn look() -> Result<Option<usize>> {
    let netlink = Connection::open()?;
    match device::find_pair(netlink.handle()).await? {
        Some(pair) => routes::count(netlink.handle(), pair).await.map(Some),
        None => Ok(None),
    }
}

/// Creates the pair of devices, or repairs the existing one; adds no route yet. Must be called
/// before the programs are loaded, since one of their constants says whether the pair exists.
pub async fn ensure() -> Result<VethPair> {
    let netlink = Connection::open()?;
    device::ensure(netlink.handle(), None).await
}

/// Removes the pair, its routes with it, and the rules that lead there. What does not exist counts
/// as removed.
pub async fn remove() -> Result<()> {
    let netlink = Connection::open()?;
    let removed = device::remove(netlink.handle()).await;
    let cleared = rules::clear(netlink.handle()).await;
    removed.and(cleared)
}
