//! One pinned map as one table of [`super::table`]. Owns the translation of the kernel's errors into words that name the
//! map and the remedy.

use std::{collections::HashSet, fmt, os::fd::OwnedFd, path::Path};

use aya::{Pod, maps::lpm_trie::Key};
use lb_common::{maps::MapSpec, srcrange::SourceRange};
use lb_sys::{Done, Error, Map, MappedArray};

use super::{
    dir::BpfDir,
    table::{ArrayTable, Batch, HashTable, MapError, Page, SourceRangeKey, Token},
};

/// How a map is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// By the agent that holds the lock.
    Write,
    /// By the verbs that only look.
    Read,
}

/// Opens the pin of a map.
pub(crate) fn open(dir: &BpfDir, spec: &MapSpec, access: Access) -> Result<OwnedFd, MapError> {
    match access {
        Access::Write => open_for(dir, spec, access, lb_sys::open_pin),
        Access::Read => open_for(dir, spec, access, lb_sys::open_pin_read_only),
    }
}

fn open_for(
    dir: &BpfDir,
    spec: &MapSpec,
    access: Access,
    open: fn(&Path) -> Result<OwnedFd, Error>,
) -> Result<OwnedFd, MapError> {
    // A successor exists only between load and commit, and only for the agent itself.
    let new = dir.new_map(spec);
    let path = if access == Access::Write && new.exists() {
        new
    } else {
        dir.map(spec)
    };
    open(&path).map_err(|e| {
        let hint = if e.errno() == Some(nix::libc::ENOENT) {
            ": no agent has run with this --bpf-dir"
        } else {
            ""
        };
        MapError::Failed {
            map: spec.name,
            operation: "open the pin",
            message: format!("{}: {e}{hint}", path.display()),
        }
    })
}

/// An error of the kernel about `spec`.
pub(crate) fn failed(spec: &MapSpec, operation: &'static str, e: &Error) -> MapError {
    MapError::Failed {
        map: spec.name,
        operation,
        message: e.to_string(),
    }
}

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

    /// The map itself, for what is not a table's business.
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

/// The trie of source ranges, whose key in the kernel carries the prefix length in front.
#[derive(Debug)]
pub struct RangesPin(HashPin<Key<SourceRange>, u8>);

impl RangesPin {
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

impl HashTable<SourceRangeKey, u8> for RangesPin {
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

    /// A lookup in a trie is by the longest prefix, and says nothing of the key itself: all of it is read.
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

/// A mapped array.
#[derive(Debug)]
pub struct ArrayPin<T> {
    spec: MapSpec,
    array: MappedArray<T>,
}

impl<T: Pod> ArrayPin<T> {
    /// Opens the pin, compares its layout with the type, and maps it.
    pub fn open(dir: &BpfDir, spec: MapSpec, access: Access) -> Result<Self, MapError> {
        // A shared mapping wants a descriptor for both; whoever only looks gets pages that cannot be written.
        let fd = open_for(dir, &spec, access, lb_sys::open_pin)?;
        let array = MappedArray::new(fd, access == Access::Write)
            .map_err(|e| failed(&spec, "map into memory", &e))?;
        Ok(Self { spec, array })
    }

    /// Adds to the first word of an element, as one step for programs that add to it too.
    pub fn add(&self, index: u32, n: i64) -> Result<(), MapError> {
        self.array
            .add(index, n.cast_unsigned())
            .map_err(|e| failed(&self.spec, "add", &e))
    }
}

impl<T: Pod> ArrayTable<T> for ArrayPin<T> {
    fn store(&mut self, index: u32, value: &T) -> Result<(), MapError> {
        self.array.store(index, value).map_err(|e| match e {
            Error::OutOfRange { len, .. } => MapError::Full {
                map: self.spec.name,
                capacity: len,
            },
            e => failed(&self.spec, "store", &e),
        })
    }

    fn load(&self, index: u32) -> Result<T, MapError> {
        self.array
            .load(index)
            .map_err(|e| failed(&self.spec, "read", &e))
    }

    fn len(&self) -> u32 {
        self.array.len()
    }
}

/// The array of one map whose update waits for every running program.
#[derive(Debug)]
pub struct BarrierPin {
    spec: MapSpec,
    outer: Map<u32, u32>,
    inner: OwnedFd,
}

impl BarrierPin {
    /// Opens the pin and makes the map that each update puts in.
    pub fn open(dir: &BpfDir, spec: MapSpec) -> Result<Self, MapError> {
        let fd = open(dir, &spec, Access::Write)?;
        let outer = Map::new(fd).map_err(|e| failed(&spec, "open", &e))?;
        // As `lb-ebpf/src/maps.rs` declares it: an array (2) of one u32.
        let inner = lb_sys::create_map(lb_sys::MapInfo {
            kind: 2,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            ..lb_sys::MapInfo::default()
        })
        .map_err(|e| failed(&spec, "create the inner map", &e))?;
        Ok(Self { spec, outer, inner })
    }

    /// Returns when every program that was running at the call has ended.
    pub fn wait(&self) -> Result<(), MapError> {
        use std::os::fd::AsRawFd;
        let fd = self.inner.as_raw_fd().unsigned_abs();
        self.outer
            .set(&0, &fd)
            .map_err(|e| failed(&self.spec, "wait for running programs", &e))
    }
}
