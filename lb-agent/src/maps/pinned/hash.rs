//! A pinned hash map.

use std::fmt;

use aya::Pod;
use lb_common::maps::MapSpec;
use lb_sys::{Done, Map};

use super::{
    super::{
        dir::BpfDir,
        table::{Batch, HashTable, MapError, Page, Token},
    },
    Access, failed, open,
};

/// A hash map.
pub struct HashPin<K, V> {
    spec: MapSpec,
    map: Map<K, V>,
}

impl<K, V> fmt::Debug for HashPin<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spec, map: _ } = self;
        f.debug_tuple("HashPin").field(&spec.name).finish()
    }
}

impl<K: Pod, V: Pod> HashPin<K, V> {
    /// Opens the pin and compares its layout with the types.
    pub fn open(dir: &BpfDir, spec: MapSpec, access: Access) -> Result<Self, MapError> {
        let fd = open(dir, &spec, access)?;
        let map = Map::new(fd).map_err(|e| failed(&spec, "open", &e))?;
        Ok(Self { spec, map })
    }

    /// The map itself, for what a table does not offer.
    #[must_use]
    pub fn map(&self) -> &Map<K, V> {
        &self.map
    }

    fn batch(&self, operation: &'static str, done: Done) -> Batch {
        Batch {
            done: done.count,
            error: done.error.map(|e| match e.errno() {
                // Hash maps say E2BIG, tries ENOSPC.
                Some(nix::libc::E2BIG | nix::libc::ENOSPC) => MapError::Full {
                    map: self.spec.name,
                    capacity: self.map.info().max_entries,
                },
                _ => failed(&self.spec, operation, &e),
            }),
        }
    }
}

impl<K: Pod, V: Pod> HashTable<K, V> for HashPin<K, V> {
    fn insert(&mut self, entries: &[(K, V)]) -> Batch {
        let (keys, values): (Vec<K>, Vec<V>) = entries.iter().copied().unzip();
        self.batch("insert", self.map.set_all(&keys, &values))
    }

    fn remove(&mut self, keys: &[K]) -> Batch {
        self.batch("delete", self.map.delete_all(keys))
    }

    fn entries(&self) -> Result<Vec<(K, V)>, MapError> {
        self.map
            .entries()
            .map_err(|e| failed(&self.spec, "read", &e))
    }

    fn page(&self, from: Option<&Token>, count: usize) -> Result<Page<K, V>, MapError> {
        let from = from.map(|token| &*token.0);
        let page = self.map.page(from, count);
        let lb_sys::Page { entries, next } = page.map_err(|e| failed(&self.spec, "read", &e))?;
        Ok(Page {
            entries,
            next: next.map(Token),
            unseen: 0,
        })
    }

    fn gone(&self, entries: Vec<(K, V)>) -> Result<Vec<(K, V)>, MapError> {
        let mut gone = Vec::new();
        for (key, value) in entries {
            let found = self.map.get(&key);
            if found
                .map_err(|e| failed(&self.spec, "look up", &e))?
                .is_none()
            {
                gone.push((key, value));
            }
        }
        Ok(gone)
    }

    fn capacity(&self) -> u32 {
        self.map.info().max_entries
    }
}
