//! `lb0`: the device of ours that service addresses are routed to, for packets that no socket hook saw. Owns the pair of
//! devices, their routes and the rules that lead there; the programs on them are [`crate::hooks`]'s.

mod device;
mod follow;
mod routes;
mod rules;
pub mod wanted;

use anyhow::{Context as _, Result};

use crate::model::VethPair;

pub use follow::{Told, follow};
pub use wanted::Wanted;

/// Does this on a runtime of its own: for verbs, which have none.
pub fn blocking<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(work)
}

/// How many networks are routed to the device; `None` if it is not there. Fails where its name is somebody else's.
pub async fn look() -> Result<Option<usize>> {
    let (connection, netlink, _) =
        rtnetlink::new_connection().context("cannot open a netlink socket")?;
    let connection = tokio::spawn(connection);
    let routed = match device::find_pair(&netlink).await {
        Ok(Some(pair)) => routes::count(&netlink, pair).await.map(Some),
        Ok(None) => Ok(None),
        Err(problem) => Err(problem),
    };
    connection.abort();
    routed
}

/// Makes the pair of devices, or mends the one that is there; no routes yet. To be called before the programs are loaded,
/// since they are told whether it is there.
pub async fn ensure() -> Result<VethPair> {
    let (connection, netlink, _) =
        rtnetlink::new_connection().context("cannot open a netlink socket")?;
    let connection = tokio::spawn(connection);
    let pair = device::ensure(&netlink, None).await;
    connection.abort();
    pair
}

/// Removes the pair, its routes with it, and the rules that lead there; what is not there is removed already.
pub async fn remove() -> Result<()> {
    let (connection, netlink, _) =
        rtnetlink::new_connection().context("cannot open a netlink socket")?;
    let connection = tokio::spawn(connection);
    let removed = device::remove(&netlink).await;
    let cleared = rules::clear(&netlink).await;
    connection.abort();
    removed.and(cleared)
}
