//! The tables whose keys hold addresses, each with its bit in `lb_known`: set before the entry is, and never taken back, so
//! that no program passes over an entry. Knows nothing of what the entries mean.

use std::sync::Arc;

use aya::Pod;
use lb_common::{Addr, frontend::VipKey, known, maps};

use super::{
    dir::BpfDir,
    pinned::{Access, ArrayPin, HashPin},
    table::{ArrayTable, Batch, HashTable, MapError, Page, Token},
};

/// A key that is looked for only if the bit of its address is set.
pub trait OfAddress {
    /// The address.
    fn address(&self) -> &Addr;
}

impl OfAddress for VipKey {
    fn address(&self) -> &Addr {
        &self.addr
    }
}

impl OfAddress for Addr {
    fn address(&self) -> &Addr {
        self
    }
}

/// `lb_known`, for those who write.
#[derive(Debug)]
pub(super) struct Known(ArrayPin<u64>);

impl Known {
    /// Opens the pin.
    pub(super) fn open(dir: &BpfDir) -> Result<Arc<Self>, MapError> {
        let map = ArrayPin::open(dir, maps::KNOWN, Access::Write)?;
        Ok(Arc::new(Self(map)))
    }

    /// Sets the address's bit; true if it was not set.
    fn announce(&self, addr: &Addr) -> Result<bool, MapError> {
        let Self(map) = self;
        let (word, bit) = known::bit(addr);
        // Of a map that was made smaller: what has no bit is looked for in any case.
        if word >= map.len() || map.load(word)? & bit != 0 {
            return Ok(false);
        }
        // Nobody else writes, so that adding it is setting it.
        map.add(word, bit.cast_signed())?;
        Ok(true)
    }
}

/// `lb_frontends` or `lb_nodeaddrs`.
#[derive(Debug)]
pub struct AddressPin<K, V> {
    table: HashPin<K, V>,
    /// Only for those who write.
    known: Option<Arc<Known>>,
}

impl<K: Pod + OfAddress, V: Pod> AddressPin<K, V> {
    /// Opens the pin. `known`: only for those who write.
    pub(super) fn open(
        dir: &BpfDir,
        spec: maps::MapSpec,
        known: Option<Arc<Known>>,
    ) -> Result<Self, MapError> {
        let access = match &known {
            Some(_) => Access::Write,
            None => Access::Read,
        };
        let table = HashPin::open(dir, spec, access)?;
        Ok(Self { table, known })
    }

    /// Sets the key's bit; true if it was not set.
    fn announce(&self, key: &K) -> Result<bool, MapError> {
        match &self.known {
            Some(known) => known.announce(key.address()),
            None => Ok(false),
        }
    }

    /// Sets the bits that are missing of what stands in the table; returns of how many entries they were.
    fn announce_all(&self, entries: &[(K, V)]) -> Result<u64, MapError> {
        let mut missing = 0;
        for (key, _) in entries {
            missing += u64::from(self.announce(key)?);
        }
        Ok(missing)
    }
}

impl<K: Pod + OfAddress, V: Pod> HashTable<K, V> for AddressPin<K, V> {
    fn insert(&mut self, entries: &[(K, V)]) -> Batch {
        for (done, (key, _)) in entries.iter().enumerate() {
            if let Err(error) = self.announce(key) {
                let batch = self.table.insert(&entries[..done]);
                return Batch {
                    error: batch.error.or(Some(error)),
                    ..batch
                };
            }
        }
        self.table.insert(entries)
    }

    fn remove(&mut self, keys: &[K]) -> Batch {
        self.table.remove(keys)
    }

    /// Whoever proves the table by reading it proves the bits with it.
    fn entries(&self) -> Result<Vec<(K, V)>, MapError> {
        let entries = self.table.entries()?;
        self.announce_all(&entries)?;
        Ok(entries)
    }

    fn page(&self, from: Option<&Token>, count: usize) -> Result<Page<K, V>, MapError> {
        let mut page = self.table.page(from, count)?;
        page.unseen += self.announce_all(&page.entries)?;
        Ok(page)
    }

    fn gone(&self, entries: Vec<(K, V)>) -> Result<Vec<(K, V)>, MapError> {
        self.table.gone(entries)
    }

    fn capacity(&self) -> u32 {
        self.table.capacity()
    }
}
