//! Tasks that read the records of sockets beside the event loop: recounts of open connections, and
//! resets of sockets that are stale or too old.

use std::sync::Arc;

use anyhow::Result;
use tokio::task::JoinHandle;

use crate::{
    hooks::attach::Attachments,
    observe::{recounts::RecountReporter, socket_resets::ResetReporter},
};

mod ages;
pub(super) mod namespaces;
pub(super) mod pod_paths;
mod recount;
mod reset;

pub(super) use reset::Question;
use reset::Resets;

/// Both tasks; they end with it.
pub(super) struct Sockets {
    resets: Resets,
    /// Moves into the task.
    reset_reporter: Option<ResetReporter>,
    recount: Option<JoinHandle<()>>,
    /// Moves into the task.
    recount_reporter: Option<RecountReporter>,
}

impl Sockets {
    /// Nothing runs yet. Without a `reset_reporter`, stale sockets are never looked for.
    pub(super) fn new(
        recount_reporter: RecountReporter,
        reset_reporter: Option<ResetReporter>,
    ) -> Self {
        Self {
            resets: Resets::new(),
            reset_reporter,
            recount: None,
            recount_reporter: Some(recount_reporter),
        }
    }

    /// The programs are attached: starts what does not run yet.
    pub(super) fn start(&mut self, attachments: &Attachments) -> Result<()> {
        if self.recount.is_none()
            && let Some(recounts) = attachments.recounts()?
            && let Some(reporter) = self.recount_reporter.take()
        {
            let first = recounts.start()?;
            let renew = move || recounts.start();
            self.recount = Some(tokio::spawn(recount::run(first, renew, reporter)));
        }
        if self.reset_reporter.is_some()
            && let Some(records) = attachments.records()?
            && let Some(reporter) = self.reset_reporter.take()
        {
            self.resets.start(Arc::new(records), reporter);
        }
        Ok(())
    }

    /// Whether TCP sockets may be stale at all.
    pub(super) fn set_tcp(&self, tcp: bool) {
        self.resets.set_tcp(tcp);
    }

    /// Whether TCP sockets may be too old at all.
    pub(super) fn set_ages(&self, ages: bool) {
        self.resets.set_ages(ages);
    }

    /// Something was removed that sockets may hold on to.
    pub(super) fn wake(&self) {
        self.resets.wake();
    }

    /// The next question about stale sockets.
    pub(super) async fn question(&mut self) -> Question {
        self.resets.question().await
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        if let Some(recount) = &self.recount {
            recount.abort();
        }
    }
}
