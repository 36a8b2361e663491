//! One table of the maps in memory. Owns the contract of batches: leading elements done, the rest
//! untouched.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher as _},
};

use super::{
    super::{
        list::{Reuse, Table},
        table::{ArrayTable, Batch, HashTable, MapError, Page, Token},
    },
    SharedWorld,
    judge::{Guard, Store},
    world::World,
};

/// A hash map.
pub struct MemHash<K, V> {
    /// Its name.
    pub name: &'static str,
    /// What is in it.
    pub entries: BTreeMap<K, V>,
    /// Entries it can hold.
    pub capacity: u32,
    /// An element was freed since the last barrier; `None` where readers do not mind.
    pub freed: Option<bool>,
}

impl<K, V> MemHash<K, V> {
    pub(super) fn new(table: Table, capacity: u32) -> Self {
        Self {
            name: table.name(),
            entries: BTreeMap::new(),
            capacity,
            freed: (table.reuse() == Reuse::AfterBarrier).then_some(false),
        }
    }
}

/// A hash map of the world.
pub(super) struct HashHandle<K, V> {
    world: SharedWorld,
    select: fn(&mut World) -> &mut MemHash<K, V>,
}

impl<K, V> HashHandle<K, V> {
    pub(super) fn new(world: SharedWorld, select: fn(&mut World) -> &mut MemHash<K, V>) -> Self {
        Self { world, select }
    }
}

/// Where pages can begin and end, as those of the kernel's hashes can.
const BUCKETS: u8 = 64;

fn bucket<K: Hash>(key: &K) -> u8 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    u8::try_from(hasher.finish() % u64::from(BUCKETS)).unwrap_or(0)
}

impl<K: Copy + Ord + Hash + std::fmt::Debug, V: Copy + Guard> HashTable<K, V> for HashHandle<K, V> {
    fn insert(&mut self, entries: &[(K, V)]) -> Batch {
        let mut world = self.world.lock();
        for (done, (key, value)) in entries.iter().enumerate() {
            let table = (self.select)(&mut world);
            let (name, freed) = (table.name, table.freed);
            let known = table.entries.get(key).copied();
            let full = known.is_none() && table.entries.len() >= table.capacity as usize;
            let capacity = table.capacity;
            let error = if full {
                Some(MapError::Full {
                    map: name,
                    capacity,
                })
            } else {
                world.injected(name, "insert")
            };
            if error.is_some() {
                return Batch { done, error };
            }
            if freed == Some(true) {
                world.violate(format!(
                    "{name}: {key:?} takes an element that was freed since the last barrier"
                ));
            }
            let table = (self.select)(&mut world);
            table.entries.insert(*key, *value);
            if known.is_some() && table.freed.is_some() {
                table.freed = Some(true);
            }
            V::placed(&mut world, known, Some(*value));
            world.wrote(name);
        }
        Batch {
            done: entries.len(),
            error: None,
        }
    }

    fn remove(&mut self, keys: &[K]) -> Batch {
        let mut world = self.world.lock();
        for (done, key) in keys.iter().enumerate() {
            let name = (self.select)(&mut world).name;
            let error = world.injected(name, "remove");
            if error.is_some() {
                return Batch { done, error };
            }
            let table = (self.select)(&mut world);
            if let Some(known) = table.entries.remove(key) {
                if table.freed.is_some() {
                    table.freed = Some(true);
                }
                V::placed(&mut world, Some(known), None);
                world.wrote(name);
            }
        }
        Batch {
            done: keys.len(),
            error: None,
        }
    }

    fn entries(&self) -> Result<Vec<(K, V)>, MapError> {
        let mut world = self.world.lock();
        let table = (self.select)(&mut world);
        Ok(table.entries.iter().map(|(k, v)| (*k, *v)).collect())
    }

    fn page(&self, from: Option<&Token>, count: usize) -> Result<Page<K, V>, MapError> {
        let mut world = self.world.lock();
        let table = (self.select)(&mut world);
        let from = from.and_then(|token| token.0.first().copied());
        let mut entries = Vec::new();
        let mut next = None;
        for at in from.unwrap_or(0)..BUCKETS {
            if entries.len() >= count {
                next = Some(Token([at].into()));
                break;
            }
            let here = table.entries.iter().filter(|(key, _)| bucket(*key) == at);
            entries.extend(here.map(|(key, value)| (*key, *value)));
        }
        Ok(Page {
            entries,
            next,
            unseen: 0,
        })
    }

    fn gone(&self, mut entries: Vec<(K, V)>) -> Result<Vec<(K, V)>, MapError> {
        let mut world = self.world.lock();
        let there = &(self.select)(&mut world).entries;
        entries.retain(|(key, _)| !there.contains_key(key));
        Ok(entries)
    }

    fn capacity(&self) -> u32 {
        (self.select)(&mut self.world.lock()).capacity
    }
}

/// An array of the world.
pub(super) struct ArrayHandle<T> {
    world: SharedWorld,
    name: &'static str,
    select: fn(&mut World) -> &mut Vec<T>,
    len: u32,
}

impl<T> ArrayHandle<T> {
    pub(super) fn new(
        world: SharedWorld,
        table: Table,
        select: fn(&mut World) -> &mut Vec<T>,
    ) -> Self {
        let len = select(&mut world.lock()).len();
        Self {
            world,
            name: table.name(),
            select,
            len: u32::try_from(len).unwrap_or(u32::MAX),
        }
    }

    fn outside(&self, operation: &'static str, index: u32) -> MapError {
        MapError::Failed {
            map: self.name,
            operation,
            message: format!("{index} is out of range"),
        }
    }
}

impl<T: Copy + Store> ArrayTable<T> for ArrayHandle<T> {
    fn store(&mut self, index: u32, value: &T) -> Result<(), MapError> {
        let mut world = self.world.lock();
        if let Some(error) = world.injected(self.name, "store") {
            return Err(error);
        }
        if index >= self.len {
            return Err(self.outside("store", index));
        }
        T::before(&mut world, index, value);
        (self.select)(&mut world)[index as usize] = *value;
        world.wrote(self.name);
        Ok(())
    }

    fn load(&self, index: u32) -> Result<T, MapError> {
        let mut world = self.world.lock();
        let found = (self.select)(&mut world).get(index as usize).copied();
        found.ok_or_else(|| self.outside("load", index))
    }

    fn used(&self) -> Result<Vec<(u32, T)>, MapError> {
        let mut world = self.world.lock();
        let all = (0..).zip((self.select)(&mut world).iter().copied());
        Ok(all.filter(|(_, element)| *element != T::EMPTY).collect())
    }

    fn len(&self) -> u32 {
        self.len
    }
}
