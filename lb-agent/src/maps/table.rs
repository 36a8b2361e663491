//! What a table can do, as the sync engine sees it: a hash table or an array. There are two
//! implementations: the kernel's maps by their pins, and memory for pure tests.

use lb_common::srcrange::SourceRange;
use thiserror::Error;

/// Why a map operation failed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum MapError {
    /// Every entry is taken. The kernel says E2BIG.
    #[error("map {map} is full ({capacity} entries): start the agent with --map-capacity {map}=N")]
    Full {
        /// Name of the map.
        map: &'static str,
        /// Its entries.
        capacity: u32,
    },
    /// Any other error of the kernel.
    #[error("map {map}: {operation}: {message}")]
    Failed {
        /// Name of the map.
        map: &'static str,
        /// The operation.
        operation: &'static str,
        /// The kernel's error.
        message: String,
    },
}

/// What a batch did: how many leading elements were done, and why it stopped before the end, if it
/// did. Elements after the failed one were not tried.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct Batch {
    /// Elements done, from the first on.
    pub done: usize,
    /// The failure of element `done`.
    pub error: Option<MapError>,
}

/// Where the next page of a map begins, in the map's own form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token(pub Box<[u8]>);

/// Some of a map's entries.
#[derive(Debug)]
pub struct Page<K, V> {
    /// In no order.
    pub entries: Vec<(K, V)>,
    /// Where to go on; `None` at the end.
    pub next: Option<Token>,
    /// Entries that programs skipped, because the bits of their addresses in `lb_known` were not
    /// set. They are set now.
    pub unseen: u64,
}

/// A hash map (or LPM trie, whose `K` carries its prefix length). Writes go through [`crate::sync`]
/// only.
pub trait HashTable<K, V>: Send {
    /// Inserts; an existing key is overwritten. In tables of [`Reuse::AfterBarrier`](super::Reuse)
    /// callers overwrite one key at a time, with a barrier between that (or a removal) and the next
    /// insert.
    fn insert(&mut self, entries: &[(K, V)]) -> Batch;
    /// Deletes; a missing key counts as done.
    fn remove(&mut self, keys: &[K]) -> Batch;
    /// Everything in it, in no order.
    fn entries(&self) -> Result<Vec<(K, V)>, MapError>;
    /// About `count` entries from the token on, in no order. The pages together hold every entry
    /// that is in the table all the time, whatever else changes; other entries may come twice.
    fn page(&self, from: Option<&Token>, count: usize) -> Result<Page<K, V>, MapError>;
    /// Those of the entries whose keys are not in it.
    fn gone(&self, entries: Vec<(K, V)>) -> Result<Vec<(K, V)>, MapError>;
    /// Entries it can hold.
    fn capacity(&self) -> u32;
}

/// An array, each element written by aligned stores of eight bytes, the first eight bytes last and
/// as one store.
pub trait ArrayTable<T>: Send {
    /// Writes the element: every 8-byte word behind the first, then (release) the first. Out of
    /// range is a `MapError`.
    fn store(&mut self, index: u32, value: &T) -> Result<(), MapError>;
    /// Writes a run of elements from `index` on.
    fn store_run(&mut self, index: u32, values: &[T]) -> Result<(), MapError> {
        for (i, v) in (index..).zip(values) {
            self.store(i, v)?;
        }
        Ok(())
    }
    /// Reads an element.
    fn load(&self, index: u32) -> Result<T, MapError>;
    /// The elements of which some bit is set, with their indices, in order.
    fn used(&self) -> Result<Vec<(u32, T)>, MapError>;
    /// Number of elements.
    fn len(&self) -> u32;
    /// The same, by the name that it has in every table.
    fn capacity(&self) -> u32 {
        self.len()
    }
    /// True for an array without elements.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A prefix of `lb_srcranges`: bits that count (pool index included), and the data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SourceRangeKey {
    /// 32 + prefix of the range, + 96 for IPv4.
    pub prefix_len: u32,
    /// Service index and network.
    pub data: SourceRange,
}
