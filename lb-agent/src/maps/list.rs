//! The one list of the tables that Services live in. A new table is one row here; the two openers,
//! [`bpf::open`](super::bpf::open) and [`mem::new`](super::mem::new), and the text
//! dump of sync/ do not compile without it.

use std::{
    fmt,
    ops::{Index, IndexMut},
};

use lb_common::{
    Addr,
    backend::Backend,
    frontend::{FrontendValue, NodeAddr, NodePortKey, VipKey},
    maps::{self, MapSpec},
    member::MemberKey,
    pool::Pool,
    slot::Slot,
};

use super::{
    successor::Successor,
    table::{ArrayTable, HashTable, MapError, SourceRangeKey},
};

/// A hash map or a trie, wherever it is kept.
pub type Hash<K, V> = Box<dyn HashTable<K, V>>;
/// An array, wherever it is kept.
pub type Array<T> = Box<dyn ArrayTable<T>>;

macro_rules! tables {
    ($($(#[doc = $doc:literal])+ $name:ident, $field:ident: $table:ty = $spec:ident;)+) => {
        /// A table that Services live in. A row may refer to the rows below it, so tables are
        /// written from the last row to the first.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Table {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Table {
            /// Every table, in the order of the rows.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Name, default capacity and version of its map.
            #[must_use]
            pub const fn spec(self) -> MapSpec {
                match self {
                    $(Self::$name => maps::$spec,)+
                }
            }
        }

        /// Every table that the sync engine writes, and what it asks of the running programs.
        pub struct Maps {
            $($(#[doc = $doc])+ pub $field: $table,)+
            /// The running programs, as far as writers have to know of them.
            pub programs: Box<dyn Programs>,
        }

        impl Maps {
            /// Entries that each table can hold.
            #[must_use]
            pub fn capacities(&self) -> PerTable<u32> {
                PerTable([$(self.$field.capacity()),+])
            }

            /// Fails if this table is too small for the content of its predecessor.
            pub fn fits(&self, table: Table, old: &Self) -> Result<(), MapError> {
                match table {
                    $(Table::$name => self.$field.fits(&old.$field, table),)+
                }
            }

            /// Copies the content of this table's predecessor into it.
            pub fn copy_from(&mut self, table: Table, old: &Self) -> Result<(), MapError> {
                match table {
                    $(Table::$name => self.$field.copy_from(&old.$field),)+
                }
            }
        }
    };
}

tables! {
    /// Address and port of a Service → its pool, or the mark of an address that is a Service's.
    Frontends, frontends: Hash<VipKey, FrontendValue> = FRONTENDS;
    /// Node port → its pool.
    NodePorts, nodeports: Hash<NodePortKey, FrontendValue> = NODEPORTS;
    /// An address that node ports answer on → its device.
    NodeAddrs, nodeaddrs: Hash<Addr, NodeAddr> = NODEADDRS;
    /// Pool and backend → what the backend may still be used for.
    Members, members: Hash<MemberKey, u32> = MEMBERS;
    /// Pool and prefix of clients that it admits.
    SourceRanges, srcranges: Hash<SourceRangeKey, u8> = SRCRANGES;
    /// Pool index → a pool: its range of slots, its scheduler, its flags.
    Pools, pools: Array<Pool> = POOLS;
    /// Slot → a backend's id.
    Slots, slots: Array<Slot> = SLOTS;
    /// Backend id → its address and port.
    Backends, backends: Array<Backend> = BACKENDS;
}

impl Table {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The name of its map.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// Whether programs follow its values. If they do, a barrier has to stand between a write that
    /// frees an element and the next write that takes one, since the kernel reuses a freed element
    /// at once, under the programs that are looking at it.
    #[must_use]
    pub const fn reuse(self) -> Reuse {
        match self {
            Self::Frontends | Self::NodePorts | Self::NodeAddrs => Reuse::AfterBarrier,
            _ => Reuse::AtOnce,
        }
    }
}

/// When the element of a removed or overwritten entry may be taken again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reuse {
    /// By the next write.
    AtOnce,
    /// By the first write behind a [`Programs::barrier`].
    AfterBarrier,
}

/// What the sync engine asks of the running programs.
pub trait Programs: Send {
    /// Zeroes what programs keep under a pool index (`lb_sched`, `lb_pool_stats`, `lb_pool_tcp`),
    /// before the index is used again.
    fn reset_pool(&mut self, index: u32) -> Result<(), MapError>;
    /// Zeroes the open connections of a backend id (`lb_active`, `lb_flow_counts`), before the id
    /// is used again.
    fn reset_backend(&mut self, id: u32) -> Result<(), MapError>;
    /// Returns when every program that was running at the call has ended (about 8 ms). What was
    /// unpublished before the call may be reused after it.
    fn barrier(&mut self) -> Result<(), MapError>;
}

impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}

/// One value for each table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PerTable<T>(pub [T; Table::COUNT]);

impl<T> PerTable<T> {
    /// What `value` says of each table.
    #[must_use]
    pub fn of(mut value: impl FnMut(Table) -> T) -> Self {
        Self(std::array::from_fn(|row| value(Table::ALL[row])))
    }

    /// The tables with their values.
    pub fn iter(&self) -> impl Iterator<Item = (Table, &T)> {
        Table::ALL.iter().copied().zip(&self.0)
    }
}

impl<T> Index<Table> for PerTable<T> {
    type Output = T;

    fn index(&self, table: Table) -> &T {
        &self.0[table as usize]
    }
}

impl<T> IndexMut<Table> for PerTable<T> {
    fn index_mut(&mut self, table: Table) -> &mut T {
        &mut self.0[table as usize]
    }
}
