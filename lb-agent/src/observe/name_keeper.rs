//! Keeps the names of what is written, for verbs that run when the agent does not. A change is
//! written at once, further ones a second later together, beside the event loop, since the disk may
//! be slow. What could not be written is tried again.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tracing::warn;

use super::once::Once;
use crate::{
    model::ObjectKey,
    names::{Changes, Draft, NameFiles},
    sync::{Engine, Report},
};

const PAUSES: Pauses = Pauses {
    change: Duration::from_secs(1),
    retry: Duration::from_secs(10),
};
/// How long the end of the agent waits for the last write.
const END: Duration = Duration::from_secs(2);

/// Between the beginnings of two writes.
#[derive(Clone, Copy)]
struct Pauses {
    /// At least.
    change: Duration,
    /// After a failure, if nothing else changes.
    retry: Duration,
}

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
        Self::with(files, PAUSES)
    }

    fn with(files: NameFiles, pauses: Pauses) -> Self {
        let (changes, received) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        Self {
            changes,
            end,
            task: tokio::spawn(keep(received, ended, files, pauses)),
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
    pauses: Pauses,
) {
    let mut failing = Once::default();
    let (mut ending, mut closed) = (false, false);
    // What a failure left unwritten, and when it is due.
    let mut pending = Changes::Some(BTreeMap::new());
    let mut retry = None;
    while !closed {
        let first = match retry {
            // Without a change in time it is tried again as it is.
            Some(at) => timeout_at(at, changes.recv()).await.ok(),
            None => Some(changes.recv().await),
        };
        match first {
            Some(Some(first)) => merge(&mut pending, first),
            Some(None) if retry.is_none() => return,
            Some(None) => closed = true,
            None => {}
        }
        while let Ok(more) = changes.try_recv() {
            merge(&mut pending, more);
        }
        let (began, now, files) = (Instant::now(), pending, files.clone());
        let stored = tokio::task::spawn_blocking(move || (files.store(&now), now)).await;
        pending = Changes::Some(BTreeMap::new());
        retry = None;
        if let Ok((stored, now)) = stored {
            if stored.is_err() {
                pending = now;
                retry = Some(began + pauses.retry);
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
            () = sleep_until(began + pauses.change) => {}
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::names::testing;

    #[tokio::test]
    async fn what_could_not_be_written_is_tried_again() {
        let state = tempfile::tempdir().unwrap();
        let files = NameFiles::of(state.path(), state.path());
        let (key, web) = testing::draft("web");
        // A folder where the file belongs.
        let file = testing::file(&files, &key);
        fs::create_dir_all(&file).unwrap();
        let soon = Duration::from_millis(1);
        let keeper = NameKeeper::with(
            files.clone(),
            Pauses {
                change: soon,
                retry: soon,
            },
        );
        let all = Changes::All([(key, web)].into());
        keeper.changes.send(all).unwrap();
        let until = async |is_so: &dyn Fn() -> bool| {
            let so = async {
                while !is_so() {
                    tokio::time::sleep(soon).await;
                }
            };
            timeout(Duration::from_secs(30), so).await.unwrap();
        };
        // The first attempt leaves this.
        until(&|| file.with_extension("new").exists()).await;
        fs::remove_dir(&file).unwrap();
        until(&|| file.is_file()).await;
        let found = files.load(|error| panic!("{error:#}")).unwrap();
        assert_eq!(found[0].key(), "shop/web");
        keeper.finish().await;
    }
}
