//! Keeps the names of what is written, for verbs that run when the agent does not. A change is
//! written at once, further ones a second later together, beside the event loop, since the disk may
//! be slow.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tracing::warn;

use super::once::Once;
use crate::{
    model::ObjectKey,
    names::{Changes, Draft, NameFiles},
    sync::{Engine, Report},
};

/// Between the beginnings of two writes, at least.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the end of the agent waits for the last write.
const END: Duration = Duration::from_secs(2);

/// Sends names to the task that writes them.
pub(crate) struct NameKeeper {
    changes: mpsc::UnboundedSender<Changes>,
    /// Dropped: the task writes what it has, and ends.
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl NameKeeper {
    /// Nothing is written before the first sync.
    pub(crate) fn start(files: NameFiles) -> Self {
        let (changes, received) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        Self {
            changes,
            end,
            task: tokio::spawn(keep(received, ended, files)),
        }
    }

    /// A sync has ended.
    pub(crate) fn synced(&self, report: &Report, engine: &Engine) {
        let changes = if report.first_synced {
            let all = engine.cluster().services().map(|s| &s.key);
            Changes::All(
                all.filter_map(|key| Some((key.clone(), draft(engine, key)?)))
                    .collect(),
            )
        } else if report.services.is_empty() {
            return;
        } else {
            let some = report.services.iter();
            Changes::Some(some.map(|key| (key.clone(), draft(engine, key))).collect())
        };
        // Without a receiver the agent is ending.
        let _ = self.changes.send(changes);
    }

    /// Writes what is not written yet.
    pub(crate) async fn finish(self) {
        let Self { changes, end, task } = self;
        drop((changes, end));
        // A disk that is slower than this does not hold up the end.
        let _ = timeout(END, task).await;
    }
}

/// `None` for a Service that is gone.
fn draft(engine: &Engine, key: &ObjectKey) -> Option<Draft> {
    let cluster = engine.cluster();
    Some(Draft {
        service: cluster.service(key)?.clone(),
        slices: cluster.slices(key).into(),
        frontends: engine.served(key),
    })
}

async fn keep(
    mut changes: mpsc::UnboundedReceiver<Changes>,
    mut ended: oneshot::Receiver<()>,
    files: NameFiles,
) {
    let mut failing = Once::default();
    let mut ending = false;
    // Not written yet: after a failure, until the next change.
    let mut pending = Changes::Some(BTreeMap::new());
    while let Some(first) = changes.recv().await {
        merge(&mut pending, first);
        while let Ok(more) = changes.try_recv() {
            merge(&mut pending, more);
        }
        let (began, now, files) = (Instant::now(), pending, files.clone());
        let stored = tokio::task::spawn_blocking(move || (files.store(&now), now)).await;
        pending = Changes::Some(BTreeMap::new());
        if let Ok((stored, now)) = stored {
            if stored.is_err() {
                pending = now;
            }
            let (appeared, _) = failing.update(stored.err().map(|error| format!("{error:#}")));
            for error in appeared {
                warn!(
                    error,
                    "`get` cannot show names of Services and pods: see --state-dir"
                );
            }
        }
        tokio::select! {
            () = sleep_until(began + PAUSE) => {}
            _ = &mut ended, if !ending => ending = true,
        }
    }
}

/// Adds later changes to earlier ones.
fn merge(pending: &mut Changes, more: Changes) {
    match (&mut *pending, more) {
        (_, all @ Changes::All(_)) => *pending = all,
        (Changes::Some(known), Changes::Some(more)) => known.extend(more),
        (Changes::All(known), Changes::Some(more)) => {
            for (key, draft) in more {
                match draft {
                    Some(draft) => known.insert(key, draft),
                    None => known.remove(&key),
                };
            }
        }
    }
}
