//! Notifications (inotify) about changes in the directory of manifests.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Context as _, Result};
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tracing::debug;

/// A watch of one directory, which may be replaced by another one under the same name.
pub(super) struct Watch {
    _watcher: notify::RecommendedWatcher,
    identity: (u64, u64),
}

impl Watch {
    /// `None` where the directory cannot be watched: it is read again later in any case.
    pub(super) fn try_new(dir: &Path, wake: &mpsc::Sender<()>) -> Option<Self> {
        Self::new(dir, wake.clone())
            .inspect_err(
                |error| debug!(error = %format!("{error:#}"), "cannot watch the directory, will poll"),
            )
            .ok()
    }

    fn new(dir: &Path, wake: mpsc::Sender<()>) -> Result<Self> {
        let identity = identity(dir).with_context(|| format!("look at {}", dir.display()))?;
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // Reading is an event too; reacting to it would be a loop. A full channel has been
                // woken already.
                if event.as_ref().map_or(true, |e| !e.kind.is_access()) {
                    wake.try_send(()).unwrap_or_default();
                }
            })
            .context("start a watcher (inotify)")?;
        watcher
            .watch(dir, RecursiveMode::NonRecursive)
            .with_context(|| format!("watch {}", dir.display()))?;
        Ok(Self {
            _watcher: watcher,
            identity,
        })
    }

    pub(super) fn is_current(&self, dir: &Path) -> bool {
        identity(dir).is_ok_and(|now| now == self.identity)
    }
}

fn identity(dir: &Path) -> std::io::Result<(u64, u64)> {
    fs::metadata(dir).map(|m| (m.dev(), m.ino()))
}
