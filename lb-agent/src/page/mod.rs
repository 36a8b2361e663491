//! The page: what this node balances and how it is, for a browser on the node. Read from the same
//! sources as the verbs and `/metrics`, and only when asked; changes nothing, knows no HTTP.

mod asked;
mod list;
mod looks;
mod numbers;
mod port;
mod row;
mod texts;
mod view;

use std::{collections::BTreeMap, sync::Arc};

use askama::Template as _;
use jiff::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::spawn_blocking,
};

pub use self::asked::Asked;
use self::{looks::Looks, view::View};
use crate::{
    maps::dir::BpfDir,
    model::ObjectKey,
    names::NameFiles,
    observe::{audits::AuditMetrics, health::Health, kernel::Kernel},
    visible,
};

/// How it looks, and what it does beyond the first view.
pub const STYLE: &str = include_str!("../../templates/page.css");
/// Keys, search while typing, and looking again.
pub const SCRIPT: &str = include_str!("../../templates/page.js");

/// How many may wait for a page at once, or take theirs.
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
    places: Arc<Semaphore>,
    started: Timestamp,
}

/// A page as HTML. It has its place until it is dropped, so that clients that do not read what they
/// asked for hold no more than some pages in memory.
#[derive(Debug)]
pub struct Written {
    html: String,
    #[expect(dead_code, reason = "held")]
    place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Written {
    fn as_ref(&self) -> &[u8] {
        self.html.as_bytes()
    }
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
            places: Arc::new(Semaphore::new(WAITING)),
            started: Timestamp::now(),
        }
    }

    /// The page.
    pub async fn write(&self, asked: &Asked) -> Result<Written, Unanswered> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Unanswered::Busy)?;
        let seen = self.looks.seen().await.map_err(Unanswered::Unread)?;
        let (parts, asked, started) = (Arc::clone(&self.parts), asked.clone(), self.started);
        // How full the maps are may be read for it, and is no work for a thread that others wait for.
        let written = spawn_blocking(move || View::new(&parts, &seen, &asked, started).render());
        let written = written
            .await
            .map_err(|error| Unanswered::Unread(error.into()))?;
        // Whoever names a pod or a zone may write anything.
        let html = visible::lines(&written.map_err(Unanswered::Unwritten)?);
        Ok(Written { html, place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_place_as_long_as_it_is() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let html = "<p>".to_owned();
        let page = axum::body::Bytes::from_owner(Written { html, place });
        assert_eq!((&page[..], places.available_permits()), (&b"<p>"[..], 0));
        drop(page);
        assert_eq!(places.available_permits(), 1);
    }
}
