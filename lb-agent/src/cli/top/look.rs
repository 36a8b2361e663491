//! Looks at what the programs count, and what is seen in an interval.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::{
    inventory::{
        self, Member,
        rates::{All, Key, Rates, between, key, sums},
    },
    maps::dir::BpfDir,
    names::NameFiles,
};

/// Where to look.
pub(super) struct Look {
    dir: BpfDir,
    names: NameFiles,
}

/// What is there now.
pub(super) struct Seen {
    counted: All,
    /// The backends of each Service port, by their ids.
    pub(super) backends: BTreeMap<Key, BTreeMap<u32, Member>>,
}

impl Look {
    pub(super) const fn new(dir: BpfDir, names: NameFiles) -> Self {
        Self { dir, names }
    }

    /// What is there now; `say` is told why names are missing.
    pub(super) fn now(&self, say: impl Fn(String)) -> Result<Seen> {
        let book = inventory::book(&self.names, say);
        let frontends = inventory::named(&self.dir, &book)?;
        let counted = sums(&frontends);
        let mut backends: BTreeMap<Key, BTreeMap<u32, Member>> = BTreeMap::new();
        for frontend in frontends {
            let of = backends.entry(key(&frontend)).or_default();
            for backend in frontend.backends {
                of.entry(backend.id).or_insert(backend);
            }
        }
        Ok(Seen { counted, backends })
    }
}

impl Seen {
    /// What was done since, in so many seconds; of one namespace, if it is named.
    pub(super) fn since(&self, before: &Self, seconds: f64, namespace: Option<&str>) -> Vec<Rates> {
        let mut rates = between(&before.counted, &self.counted, seconds);
        if let Some(namespace) = namespace {
            rates.retain(|r| {
                r.service
                    .as_ref()
                    .is_some_and(|s| s.namespace == *namespace)
            });
        }
        rates
    }
}
