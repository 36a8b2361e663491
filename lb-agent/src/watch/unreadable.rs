//! Objects of the API server that cannot be read, each told by its name. One that could be read
//! before stays as it was read then.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tracing::{info, warn};

use super::{metrics::WatchMetrics, object};
use crate::{
    model::ObjectKey,
    observe::{labels::Kind, once::Once},
};

/// Those of one kind.
pub(super) struct Unreadable {
    kind: Kind,
    metrics: WatchMetrics,
    /// Why, by name.
    known: BTreeMap<ObjectKey, String>,
    /// Of a list that is being received.
    list: BTreeMap<ObjectKey, String>,
    told: Once<(ObjectKey, String)>,
}

impl Unreadable {
    pub(super) fn new(kind: Kind, metrics: &WatchMetrics) -> Self {
        Self {
            kind,
            metrics: metrics.clone(),
            known: BTreeMap::new(),
            list: BTreeMap::new(),
            told: Once::default(),
        }
    }

    /// A list begins.
    pub(super) fn begin(&mut self) {
        self.list.clear();
    }

    /// It has this one.
    pub(super) fn listed(&mut self, meta: &ObjectMeta, why: String) {
        self.list.insert(object::key(meta), why);
    }

    /// Those of the list that is being received, if there are any.
    pub(super) fn names(&self) -> Option<Vec<ObjectKey>> {
        let names: Vec<_> = self.list.keys().cloned().collect();
        (!names.is_empty()).then_some(names)
    }

    /// It has ended.
    pub(super) fn done(&mut self) {
        self.known = std::mem::take(&mut self.list);
        self.tell();
    }

    /// One has changed or is gone; `None`: there is nothing unreadable of that name.
    pub(super) fn changed(&mut self, meta: &ObjectMeta, why: Option<String>) {
        if why.is_none() && self.known.is_empty() {
            return;
        }
        let key = object::key(meta);
        match why {
            Some(why) => self.known.insert(key, why),
            None => self.known.remove(&key),
        };
        self.tell();
    }

    fn tell(&mut self) {
        let kind = self.kind;
        self.metrics.unreadable(kind, self.known.len());
        let now = self.known.iter();
        let (appeared, gone) = self
            .told
            .update(now.map(|(key, why)| (key.clone(), why.clone())));
        for (object, error) in appeared {
            warn!(%kind, %object, error, "cannot read this object: skipped, or as it was when it was read last");
        }
        for (object, _) in gone {
            if !self.known.contains_key(&object) {
                info!(%kind, %object, "this object is gone, or can be read now");
            }
        }
    }
}
