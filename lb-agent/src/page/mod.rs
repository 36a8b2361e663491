//! The page: what this node balances and how it is, for a browser on the node. Read from the same
//! sources as the verbs and `/metrics`, and only when asked; changes nothing, knows no HTTP.

mod asked;
mod looks;
mod numbers;
mod port;
mod view;

use std::{collections::BTreeMap, sync::Arc};

use askama::Template as _;
use jiff::Timestamp;
use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
};

pub use self::asked::Asked;
use self::{looks::Looks, view::View};
use crate::{
    maps::dir::BpfDir,
    model::ObjectKey,
    names::NameFiles,
    observe::{audits::AuditMetrics, health::Health, kernel::Kernel},
};

/// How it looks, and what it does beyond the first view.
pub const STYLE: &str = include_str!("../../templates/page.css");
/// Keys, search while typing, and looking again.
pub const SCRIPT: &str = include_str!("../../templates/page.js");

/// Who may wait for a look at once.
const WAITING: usize = 8;

/// Where everything on the page comes from.
#[derive(Debug)]
pub struct Parts {
    /// The pins.
    pub dir: BpfDir,
    /// The names that the agent keeps.
    pub names: NameFiles,
    /// Reasons, and how full maps are.
    pub kernel: Arc<Kernel>,
    /// Whether the agent is well.
    pub health: Arc<Health>,
    /// What the last audit found.
    pub audits: AuditMetrics,
    /// Services that are only partly programmed, and why.
    pub problems: watch::Receiver<Arc<BTreeMap<ObjectKey, Vec<String>>>>,
    /// Name of the node.
    pub node: String,
}

/// The page of a running agent.
#[derive(Debug)]
pub struct Page {
    parts: Arc<Parts>,
    looks: Looks,
    places: Semaphore,
    started: Timestamp,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// So many wait already.
    #[error("{WAITING} others wait for this page; try again")]
    Busy,
    /// The maps cannot be read.
    #[error("cannot read what the kernel holds: {0:#}")]
    Unread(anyhow::Error),
    /// The page cannot be written.
    #[error("cannot write the page: {0}")]
    Unwritten(askama::Error),
}

impl Page {
    /// Of an agent that has just started; reads nothing yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let parts = Arc::new(parts);
        Self {
            looks: Looks::new(Arc::clone(&parts)),
            parts,
            places: Semaphore::new(WAITING),
            started: Timestamp::now(),
        }
    }

    /// The page as HTML.
    pub async fn write(&self, asked: &Asked) -> Result<String, Unanswered> {
        let _place = self.places.try_acquire().map_err(|_| Unanswered::Busy)?;
        let seen = self.looks.seen().await.map_err(Unanswered::Unread)?;
        let (parts, asked, started) = (Arc::clone(&self.parts), asked.clone(), self.started);
        // How full the maps are may be read for it, and is no work for a thread that others wait for.
        let written = spawn_blocking(move || View::new(&parts, &seen, &asked, started).render());
        let written = written
            .await
            .map_err(|error| Unanswered::Unread(error.into()))?;
        written.map_err(Unanswered::Unwritten)
    }
}
