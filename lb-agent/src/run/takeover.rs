//! Connections that kube-proxy opened, in the running agent: adopted around the first sync; what
//! keeps them is removed after the last of them. [`takeover`](crate::takeover) does the work.

use std::{future::pending, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{sync::oneshot, task::spawn_blocking, time};
use tracing::{info, warn};

use super::data_path::PinnedMaps;
use crate::{
    maps::dir::BpfDir,
    netfilter::{Socket, conntrack, keeper},
    observe::{
        node_events::EventRecorder,
        once::{Change, Outage},
    },
    takeover::{
        adopt::{self, Takeover},
        connections::Frontends,
        find::Leftovers,
    },
};

/// How often the agent looks whether one is left.
const LOOK: Duration = Duration::from_secs(15);

/// To be awaited before anything is written.
pub(super) async fn begin(dir: &BpfDir, leftovers: bool, maps: PinnedMaps) {
    let (dir, kind) = (dir.clone(), kind(leftovers, maps));
    report(blocking(move || adopt::begin(&dir, kind)).await);
}

/// Fresh if no previous agent serves: there is no frontend in the maps, nor in maps that these
/// replace. The programs of a previous agent serve on those, and look for their flows in the same
/// map as ours.
fn kind(leftovers: bool, maps: PinnedMaps) -> Takeover {
    if !leftovers && maps == PinnedMaps::Reused {
        Takeover::Fresh
    } else {
        Takeover::Resumed
    }
}

/// Runs forever, from the first complete sync on.
pub(super) async fn follow(dir: BpfDir, synced: oneshot::Receiver<()>, recorder: EventRecorder) {
    if synced.await.is_err() {
        return pending().await;
    }
    let folder = dir.clone();
    let adopted = blocking(move || adopt::finish(&folder)).await;
    if let Err(error) = &adopted {
        let text = format!(
            "connections from outside that kube-proxy opened may break: {error:#}; does the kernel have nf_conntrack_netlink?"
        );
        recorder.node("ConnectionsNotAdopted", "TakeOver", "", text);
    }
    report(adopted);
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
            recorder.node("KubeProxyLeftovers", "TakeOver", "", text);
        }
        Ok(_) => {}
        Err(error) => warn!(
            error = format!("{error:#}"),
            "cannot look for kube-proxy's rules"
        ),
    }
    look_on(LOOK, |unneeded| blocking(move || let_go(unneeded))).await;
}

/// Runs forever. `look` gets what it returned the last time; an outage is logged once.
async fn look_on<L>(period: Duration, mut look: impl FnMut(bool) -> L)
where
    L: Future<Output = Result<bool>>,
{
    let mut ticks = time::interval(period);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut unneeded = false;
    let mut outage = Outage::default();
    loop {
        ticks.tick().await;
        // Twice in a row, so that one look at a wrong moment does no harm.
        let now = look(unneeded).await;
        if let (Change::Began, Err(error)) = (outage.after(&now), &now) {
            warn!(
                error = format!("{error:#}"),
                "cannot see whether connections of kube-proxy's are left, will retry"
            );
        }
        unneeded = now.unwrap_or(false);
    }
}

/// Whether the table exists and no connection needs it. Removes it if that was so before.
fn let_go(unneeded: bool) -> Result<bool> {
    let mut socket = Socket::open().context("open a socket to netfilter")?;
    if !keeper::is_there(&mut socket)? || conntrack::any_lasting(&mut socket)? {
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

fn report(adopted: Result<usize>) {
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

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn segments_without_a_record_are_passed_only_where_no_agent_served_before() {
        assert_eq!(kind(false, PinnedMaps::Reused), Takeover::Fresh);
        assert_eq!(kind(true, PinnedMaps::Reused), Takeover::Resumed);
        // After a change of a map's capacity or layout.
        assert_eq!(kind(false, PinnedMaps::Recreated), Takeover::Resumed);
    }

    #[tokio::test]
    async fn a_look_that_fails_is_followed_by_another() {
        let (sender, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let mut n = 0;
        let looks = look_on(Duration::from_millis(1), |unneeded| {
            sender.send(unneeded).unwrap();
            // Unneeded, then unknown, then unneeded again: that is not twice in a row.
            n += 1;
            async move {
                if n == 2 {
                    bail!("the kernel is short of memory");
                }
                Ok(true)
            }
        });
        let enough = async {
            let mut all = Vec::new();
            while all.len() < 4 {
                all.push(asked.recv().await.unwrap());
            }
            all
        };
        let all = tokio::select! {
            all = time::timeout(Duration::from_secs(30), enough) => all.unwrap(),
            () = looks => unreachable!(),
        };
        assert_eq!(all, [false, true, false, true]);
    }
}
