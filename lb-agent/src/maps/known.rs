//! Tables with addresses in them, and the bits of those addresses in `lb_known` and
//! `lb_known_backs`. A bit is set before its entry is inserted and is never cleared, so that no
//! program skips an entry.

use std::sync::Arc;

use aya::Pod;
use lb_common::{
    Addr,
    backend::Backend,
    frontend::{NodePortKey, VipKey},
    known, maps,
};

use super::{
    dir::BpfDir,
    pinned::{Access, ArrayPin, HashPin},
    table::{ArrayTable, Batch, HashTable, MapError, Page, Token},
};

/// A key that programs look up only if the bit of its address is set.
pub trait OfAddress {
    /// The address.
    fn address(&self) -> Addr;
}

impl OfAddress for VipKey {
    fn address(&self) -> Addr {
        self.addr
    }
}

impl OfAddress for Addr {
    fn address(&self) -> Addr {
        *self
    }
}

impl OfAddress for NodePortKey {
    /// What stands for its number.
    fn address(&self) -> Addr {
        known::of_port(self.port)
    }
}

/// `lb_known` or `lb_known_backs`, opened for writing.
#[derive(Debug)]
pub(super) struct Known(ArrayPin<u64>);

impl Known {
    /// Opens the pin.
    pub(super) fn open(dir: &BpfDir) -> Result<Arc<Self>, MapError> {
        let map = ArrayPin::open(dir, maps::KNOWN, Access::Write)?;
        Ok(Arc::new(Self(map)))
    }

    /// The same for addresses of backends.
    fn open_backends(dir: &BpfDir) -> Result<Self, MapError> {
        ArrayPin::open(dir, maps::KNOWN_BACKENDS, Access::Write).map(Self)
    }

    /// Sets the address's bit; true if it was not set.
    fn set_bit(&self, addr: &Addr) -> Result<bool, MapError> {
        let Self(map) = self;
        let (word, bit) = known::bit(addr);
        // Beyond the end of a map that was made smaller: programs look up what has no bit.
        if word >= map.len() || map.load(word)? & bit != 0 {
            return Ok(false);
        }
        // The agent is the only writer, so adding the bit sets it.
        map.add(word, bit.cast_signed())?;
        Ok(true)
    }
}

/// `lb_frontends`, `lb_nodeports` or `lb_nodeaddrs`.
#[derive(Debug)]
pub struct AddressPin<K, V> {
    table: HashPin<K, V>,
    /// `None` if the table was opened for reading.
    known: Option<Arc<Known>>,
}

impl<K: Pod + OfAddress, V: Pod> AddressPin<K, V> {
    /// Opens the pin: for writing if `known` is given.
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
    fn set_bit(&self, key: &K) -> Result<bool, MapError> {
        match &self.known {
            Some(known) => known.set_bit(&key.address()),
            None => Ok(false),
        }
    }

    /// Sets the missing bits of these entries, and returns how many entries lacked theirs.
    fn set_bits(&self, entries: &[(K, V)]) -> Result<u64, MapError> {
        let mut missing = 0;
        for (key, _) in entries {
            missing += u64::from(self.set_bit(key)?);
        }
        Ok(missing)
    }
}

impl<K: Pod + OfAddress, V: Pod> HashTable<K, V> for AddressPin<K, V> {
    fn insert(&mut self, entries: &[(K, V)]) -> Batch {
        for (done, (key, _)) in entries.iter().enumerate() {
            if let Err(error) = self.set_bit(key) {
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

    /// Sets missing bits too, so that an audit of the table repairs them.
    fn entries(&self) -> Result<Vec<(K, V)>, MapError> {
        let entries = self.table.entries()?;
        self.set_bits(&entries)?;
        Ok(entries)
    }

    fn page(&self, from: Option<&Token>, count: usize) -> Result<Page<K, V>, MapError> {
        let mut page = self.table.page(from, count)?;
        page.unseen += self.set_bits(&page.entries)?;
        Ok(page)
    }

    fn gone(&self, entries: Vec<(K, V)>) -> Result<Vec<(K, V)>, MapError> {
        self.table.gone(entries)
    }

    fn capacity(&self) -> u32 {
        self.table.capacity()
    }
}

/// `lb_backends`.
#[derive(Debug)]
pub struct BackendPin {
    table: ArrayPin<Backend>,
    /// `None` if the table was opened for reading.
    known: Option<Known>,
}

impl BackendPin {
    /// Opens the pin. For writing, the bits of all backends are set, which another version of the
    /// agent may not have done.
    pub(super) fn open(dir: &BpfDir, access: Access) -> Result<Self, MapError> {
        let table = ArrayPin::open(dir, maps::BACKENDS, access)?;
        let known = match access {
            Access::Write => Some(Known::open_backends(dir)?),
            Access::Read => None,
        };
        let pin = Self { table, known };
        if pin.known.is_some() {
            for (_, backend) in pin.table.used()? {
                pin.set_bit(&backend)?;
            }
        }
        Ok(pin)
    }

    fn set_bit(&self, backend: &Backend) -> Result<(), MapError> {
        match &self.known {
            Some(known) if backend.port != 0 => known.set_bit(&backend.addr).map(drop),
            _ => Ok(()),
        }
    }
}

impl ArrayTable<Backend> for BackendPin {
    fn store(&mut self, index: u32, backend: &Backend) -> Result<(), MapError> {
        self.set_bit(backend)?;
        self.table.store(index, backend)
    }

    fn load(&self, index: u32) -> Result<Backend, MapError> {
        self.table.load(index)
    }

    fn used(&self) -> Result<Vec<(u32, Backend)>, MapError> {
        self.table.used()
    }

    fn len(&self) -> u32 {
        self.table.len()
    }
}
