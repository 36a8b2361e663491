//! The running agent and connections that kube-proxy opened: adopted around the first sync, and what keeps them removed after
//! the last of them. Owns when; how is [`takeover`](crate::takeover)'s business.

use std::{future::pending, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{sync::oneshot, task::spawn_blocking, time};
use tracing::{info, warn};

use crate::{
    datapath::dir::BpfDir,
    netfilter::{Socket, conntrack, keeper},
    takeover::{adopt, connections::Frontends, find::Leftovers},
};

use super::announce::Announce;

/// How often the last of them is looked for.
const LOOK: Duration = Duration::from_secs(15);

/// To be awaited before anything is written. `fresh`: no frontend stands in the maps yet.
pub(super) async fn begin(dir: &BpfDir, fresh: bool) {
    let dir = dir.clone();
    tell(blocking(move || adopt::begin(&dir, fresh)).await);
}

/// Runs on, from the first complete sync.
pub(super) async fn follow(dir: BpfDir, synced: oneshot::Receiver<()>, announce: Announce) {
    if synced.await.is_err() {
        return pending().await;
    }
    let folder = dir.clone();
    let adopted = blocking(move || adopt::finish(&folder)).await;
    if let Err(error) = &adopted {
        let text = format!(
            "connections from outside that kube-proxy opened may break: {error:#}; does the kernel have nf_conntrack_netlink?"
        );
        announce.node("ConnectionsNotAdopted", "TakeOver", "", text);
    }
    tell(adopted);
    let left = blocking(move || Leftovers::find(&Frontends::read(&dir)?)).await;
    match left {
        Ok(left) if left.has_rules() => {
            let left = left.in_words();
            warn!(
                left,
                "kube-proxy's rules are there: `lb-agent cleanup --kube-proxy` removes them once it is stopped"
            );
            let text = format!(
                "kube-proxy's rules are there: {left}; once it is stopped, run `lb-agent cleanup --kube-proxy` on this node"
            );
            announce.node("KubeProxyLeftovers", "TakeOver", "", text);
        }
        Ok(_) => {}
        Err(error) => warn!(
            error = format!("{error:#}"),
            "cannot look for kube-proxy's rules"
        ),
    }
    let mut ticks = time::interval(LOOK);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut unneeded = false;
    loop {
        ticks.tick().await;
        // Twice in a row, so that one look at a wrong moment does no harm.
        match blocking(move || let_go(unneeded)).await {
            Ok(now) => unneeded = now,
            Err(error) => {
                warn!(
                    error = format!("{error:#}"),
                    "cannot see whether connections of kube-proxy's are left"
                );
                return pending().await;
            }
        }
    }
}

/// Is the table there that no connection needs? Removed, if that was so before.
fn let_go(unneeded: bool) -> Result<bool> {
    let mut socket = Socket::open().context("open a socket to netfilter")?;
    if !keeper::is_there(&mut socket)? || conntrack::any_tcp(&mut socket)? {
        return Ok(false);
    }
    if unneeded {
        keeper::remove(&mut socket)?;
        info!(
            table = keeper::TABLE,
            "the last connection that kube-proxy opened has ended: removed what kept it"
        );
    }
    Ok(!unneeded)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    spawn_blocking(work).await.context("a thread has ended")?
}

fn tell(adopted: Result<usize>) {
    match adopted {
        Ok(0) => {}
        Ok(connections) => info!(
            connections,
            "connections that netfilter translates are left to it"
        ),
        Err(error) => warn!(
            error = format!("{error:#}"),
            "connections from outside that kube-proxy opened may break"
        ),
    }
}
