//! The pinned trie of source ranges. Its key in the kernel begins with the length of the prefix.

use std::collections::HashSet;

use aya::maps::lpm_trie::Key;
use lb_common::{maps::MapSpec, srcrange::SourceRange};

use super::{
    super::{
        dir::BpfDir,
        table::{Batch, HashTable, MapError, Page, SourceRangeKey, Token},
    },
    Access, HashPin,
};

/// `lb_srcranges`
#[derive(Debug)]
pub struct SourceRangesPin(HashPin<Key<SourceRange>, u8>);

impl SourceRangesPin {
    /// Opens the pin and compares its layout with the types.
    pub fn open(dir: &BpfDir, spec: MapSpec, access: Access) -> Result<Self, MapError> {
        HashPin::open(dir, spec, access).map(Self)
    }
}

fn key(k: &SourceRangeKey) -> Key<SourceRange> {
    Key::new(k.prefix_len, k.data)
}

fn ours((k, value): (Key<SourceRange>, u8)) -> (SourceRangeKey, u8) {
    let (prefix_len, data) = (k.prefix_len(), k.data());
    (SourceRangeKey { prefix_len, data }, value)
}

impl HashTable<SourceRangeKey, u8> for SourceRangesPin {
    fn insert(&mut self, entries: &[(SourceRangeKey, u8)]) -> Batch {
        let entries: Vec<_> = entries.iter().map(|(k, v)| (key(k), *v)).collect();
        self.0.insert(&entries)
    }

    fn remove(&mut self, keys: &[SourceRangeKey]) -> Batch {
        let keys: Vec<_> = keys.iter().map(key).collect();
        self.0.remove(&keys)
    }

    fn entries(&self) -> Result<Vec<(SourceRangeKey, u8)>, MapError> {
        Ok(self.0.entries()?.into_iter().map(ours).collect())
    }

    fn page(
        &self,
        from: Option<&Token>,
        count: usize,
    ) -> Result<Page<SourceRangeKey, u8>, MapError> {
        let Page {
            entries,
            next,
            unseen,
        } = self.0.page(from, count)?;
        let entries = entries.into_iter().map(ours).collect();
        Ok(Page {
            entries,
            next,
            unseen,
        })
    }

    /// A lookup in a trie finds the longest prefix that matches, and so says nothing about the key
    /// itself. All entries are read.
    fn gone(
        &self,
        mut entries: Vec<(SourceRangeKey, u8)>,
    ) -> Result<Vec<(SourceRangeKey, u8)>, MapError> {
        let there: HashSet<_> = self.entries()?.into_iter().map(|(key, _)| key).collect();
        entries.retain(|(key, _)| !there.contains(key));
        Ok(entries)
    }

    fn capacity(&self) -> u32 {
        self.0.capacity()
    }
}
