//! The tables whose keys hold addresses, each with its bit in `lb_known`: set before the entry is, and never taken back, so
//! that no program passes over an entry. Knows nothing of what the entries mean.

use aya::Pod;
use lb_common::{Addr, known, maps, service::ServiceKey};

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

impl OfAddress for ServiceKey {
    fn address(&self) -> &Addr {
        &self.addr
    }
}

impl OfAddress for Addr {
    fn address(&self) -> &Addr {
        self
    }
}

/// `lb_services` or `lb_nodeaddrs`.
#[derive(Debug)]
pub struct AddressPin<K, V> {
    table: HashPin<K, V>,
    /// Only for those who write.
    known: Option<ArrayPin<u64>>,
}

impl<K: Pod + OfAddress, V: Pod> AddressPin<K, V> {
    /// Opens the pins.
    pub(super) fn open(
        dir: &BpfDir,
        spec: maps::MapSpec,
        access: Access,
    ) -> Result<Self, MapError> {
        Ok(Self {
            table: HashPin::open(dir, spec, access)?,
            known: match access {
                Access::Write => Some(ArrayPin::open(dir, maps::KNOWN, access)?),
                Access::Read => None,
            },
        })
    }

    /// Sets the key's bit; true if it was not set.
    fn announce(&self, key: &K) -> Result<bool, MapError> {
        let (word, bit) = known::bit(key.address());
        let Some(known) = self.known.as_ref().filter(|known| word < known.len()) else {
            // Of a map that was made smaller: what has no bit is looked for in any case.
            return Ok(false);
        };
        if known.load(word)? & bit != 0 {
            return Ok(false);
        }
        // Nobody else writes, so that adding it is setting it.
        known.add(word, bit.cast_signed())?;
        Ok(true)
    }

    /// Sets the bits that are missing of what stands in the table.
    fn announce_all(&self, entries: &[(K, V)]) -> Result<(), MapError> {
        let mut missing = 0_usize;
        for (key, _) in entries {
            missing += usize::from(self.announce(key)?);
        }
        if missing > 0 {
            tracing::warn!(
                map = maps::KNOWN.name,
                bits = missing,
                "somebody else has changed this map: it is as it should be again"
            );
        }
        Ok(())
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
        let page = self.table.page(from, count)?;
        self.announce_all(&page.entries)?;
        Ok(page)
    }

    fn gone(&self, entries: Vec<(K, V)>) -> Result<Vec<(K, V)>, MapError> {
        self.table.gone(entries)
    }

    fn capacity(&self) -> u32 {
        self.table.capacity()
    }
}
