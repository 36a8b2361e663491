//! The tables whose keys hold addresses, each with its bit in `lb_known`: set before the entry is, and never taken back, so
//! that no program passes over an entry. Knows nothing of what the entries mean.

use aya::Pod;
use lb_common::{Addr, known, maps, service::ServiceKey};

use super::{
    dir::BpfDir,
    pinned::{Access, ArrayPin, HashPin},
    table::{ArrayTable, Batch, HashTable, MapError},
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

    /// Sets the key's bit.
    fn announce(&mut self, key: &K) -> Result<(), MapError> {
        let Some(known) = &mut self.known else {
            return Ok(());
        };
        let (word, bit) = known::bit(key.address());
        if word >= known.len() {
            // A map that was made smaller: what stands behind its end is looked for in any case.
            return Ok(());
        }
        let before = known.load(word)?;
        if before & bit == 0 {
            known.store(word, &(before | bit))?;
        }
        Ok(())
    }

    /// Can programs find it?
    fn is_found(&self, key: &K) -> bool {
        let (word, bit) = known::bit(key.address());
        match &self.known {
            Some(known) if word < known.len() => {
                known.load(word).is_ok_and(|found| found & bit != 0)
            }
            _ => true,
        }
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

    /// What no program finds is not there.
    fn entries(&self) -> Result<Vec<(K, V)>, MapError> {
        let mut entries = self.table.entries()?;
        entries.retain(|(key, _)| self.is_found(key));
        Ok(entries)
    }

    fn capacity(&self) -> u32 {
        self.table.capacity()
    }
}
