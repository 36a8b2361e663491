//! A directory of YAML files, followed live: one list of objects after each change. While a file
//! cannot be read, its last valid content stays in effect or, at the start, what a previous agent
//! wrote.

mod folder;
mod notification;
mod once;
mod outbox;

use std::{path::PathBuf, time::Duration};

use folder::Folder;
use notification::Watch;
pub use once::{FileProblem, Read, read};
use outbox::Outbox;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tracing::{error, info};

use super::{metrics::WatchMetrics, warnings::Warnings};
use crate::{model::Event, observe::once::Once};

/// An edit counts as finished after this long without a change.
const SETTLE: Duration = Duration::from_millis(30);
/// A file that has just become empty is usually being written: it is read again after this.
const EMPTY: Duration = Duration::from_millis(250);
/// Interval of reading without a notification: a symbolic link into another directory does not
/// notify when its target changes.
const REREAD: Duration = Duration::from_secs(10);

/// Follows `dir` until the receiver is gone. `careful`: a previous agent has left services, some of
/// which may be those of a file that cannot be read now; so nothing counts as a whole list before
/// every file could be read once.
pub async fn follow(
    dir: PathBuf,
    node: String,
    careful: bool,
    events: mpsc::Sender<Event>,
    metrics: WatchMetrics,
) {
    let (wake, mut woken) = mpsc::channel(1);
    let mut folder = Folder::new(dir);
    let mut watch: Option<Watch> = None;
    let mut outbox = Outbox::new(careful);
    let mut warnings = Warnings::default();
    let mut failing = Once::default();
    while !events.is_closed() {
        watch = watch.filter(|watch| watch.is_current(&folder.dir));
        if watch.is_none() {
            watch = Watch::try_new(&folder.dir, &wake);
        }
        let mut next = Instant::now() + REREAD;
        match folder.read() {
            Ok(unsettled) => {
                let (_, gone) = failing.update([]);
                if !gone.is_empty() {
                    info!(dir = %folder.dir.display(), "directory is readable again");
                }
                if unsettled {
                    next = Instant::now() + EMPTY;
                }
                metrics.bad_manifests(folder.bad.len());
                let lists = folder.lists(&node);
                if outbox.sent.as_ref() != Some(&lists) || folder.warnings_due {
                    warnings.update(folder.warnings(&lists));
                }
                for event in outbox.next(lists, folder.bad.is_empty()) {
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                let (appeared, _) = failing.update([format!("{error:#}")]);
                for error in appeared {
                    error!(
                        error,
                        "cannot read the manifests; the data path keeps working"
                    );
                }
                next = Instant::now() + Duration::from_secs(1);
            }
        }
        tokio::select! {
            () = sleep_until(next) => {}
            _ = woken.recv() => {
                sleep(SETTLE).await;
                while woken.try_recv().is_ok() {}
            }
            () = events.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests;
