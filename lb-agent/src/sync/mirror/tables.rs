//! The hash tables of the maps, each beside its mirror: one implementation of [`Mirrored`] a table
//! serves writers and audit alike.

use std::{collections::HashMap, fmt::Debug, hash::Hash};

use lb_common::{
    Addr, Proto,
    frontend::{FrontendValue, NodeAddr, NodePortKey, VipKey},
    member::MemberKey,
};

use super::{
    Mirror,
    frontends::{FrontendTable, Step},
    pool::PoolState,
};
use crate::maps::{
    Maps, Reuse, Table,
    table::{HashTable, SourceRangeKey},
};

/// Part of what a table should hold, and where the next part begins.
pub(crate) type MirrorPage<T> = (
    Vec<(<T as Mirrored>::Key, <T as Mirrored>::Value)>,
    Option<Cursor>,
);

/// Where the next page of the mirror begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cursor {
    /// At the start.
    Start,
    /// Index of an element; or of a pool, and how much of it was done.
    Index(u32, u32),
    /// Frontends: behind the last place of the page, from the end on.
    Before(usize),
}

/// A hash table and its mirror.
pub(crate) trait Mirrored {
    type Key: Copy + Ord + Hash + Debug;
    type Value: Copy + PartialEq + Debug;
    /// Which table.
    const TABLE: Table;

    /// The table itself.
    fn table(maps: &mut Maps) -> &mut dyn HashTable<Self::Key, Self::Value>;

    /// What the table should hold under a key.
    fn desired(mirror: &Mirror, key: &Self::Key) -> Option<Self::Value>;

    /// About `count` entries that the table should hold.
    fn page(mirror: &Mirror, at: Cursor, count: usize) -> MirrorPage<Self>
    where
        Self: Sized;

    /// Entries that the table should hold.
    fn len(mirror: &Mirror) -> usize;
}

/// A table of frontends.
pub(crate) trait FrontendMap: Mirrored<Value = FrontendValue> {
    /// Its mirror, for this folder's own use: the methods that change it are not visible outside.
    fn frontends_mut(mirror: &mut Mirror) -> &mut FrontendTable<Self::Key>;

    /// What has to be written, by key.
    fn steps(mirror: &mut Mirror) -> Vec<(Self::Key, Step)>;

    /// Is it a frontend of UDP?
    fn is_udp(key: &Self::Key) -> bool;
}

/// `lb_frontends`
pub(crate) struct Vips;
/// `lb_nodeports`
pub(crate) struct NodePorts;
/// `lb_nodeaddrs`
pub(crate) struct NodeAddresses;
/// `lb_members`
pub(crate) struct Members;
/// `lb_srcranges`
pub(crate) struct SourceRanges;

impl Mirror {
    /// A freed element of the table must not be taken before a barrier.
    pub(crate) fn needs_barrier<T: Mirrored>(&self) -> bool {
        self.recycled[T::TABLE]
    }

    /// An element of the table is about to be freed, or was.
    pub(crate) fn mark_recycled<T: Mirrored>(&mut self) {
        self.recycled[T::TABLE] |= T::TABLE.reuse() == Reuse::AfterBarrier;
    }
}

impl Mirrored for Vips {
    type Key = VipKey;
    type Value = FrontendValue;
    const TABLE: Table = Table::Frontends;

    fn table(maps: &mut Maps) -> &mut dyn HashTable<Self::Key, Self::Value> {
        &mut *maps.frontends
    }
    fn desired(mirror: &Mirror, key: &Self::Key) -> Option<Self::Value> {
        mirror.vips.written(key)
    }
    fn page(mirror: &Mirror, at: Cursor, count: usize) -> MirrorPage<Self> {
        frontends(&mirror.vips, at, count)
    }
    fn len(mirror: &Mirror) -> usize {
        mirror.vips.len()
    }
}

impl FrontendMap for Vips {
    fn frontends_mut(mirror: &mut Mirror) -> &mut FrontendTable<Self::Key> {
        &mut mirror.vips
    }
    fn steps(mirror: &mut Mirror) -> Vec<(Self::Key, Step)> {
        mirror.vips.steps(is_live(&mirror.pools))
    }
    fn is_udp(key: &Self::Key) -> bool {
        key.proto == Proto::Udp.number()
    }
}

impl Mirrored for NodePorts {
    type Key = NodePortKey;
    type Value = FrontendValue;
    const TABLE: Table = Table::NodePorts;

    fn table(maps: &mut Maps) -> &mut dyn HashTable<Self::Key, Self::Value> {
        &mut *maps.nodeports
    }
    fn desired(mirror: &Mirror, key: &Self::Key) -> Option<Self::Value> {
        mirror.node_ports.written(key)
    }
    fn page(mirror: &Mirror, at: Cursor, count: usize) -> MirrorPage<Self> {
        frontends(&mirror.node_ports, at, count)
    }
    fn len(mirror: &Mirror) -> usize {
        mirror.node_ports.len()
    }
}

impl FrontendMap for NodePorts {
    fn frontends_mut(mirror: &mut Mirror) -> &mut FrontendTable<Self::Key> {
        &mut mirror.node_ports
    }
    fn steps(mirror: &mut Mirror) -> Vec<(Self::Key, Step)> {
        mirror.node_ports.steps(is_live(&mirror.pools))
    }
    fn is_udp(key: &Self::Key) -> bool {
        key.proto == Proto::Udp.number()
    }
}

impl Mirrored for NodeAddresses {
    type Key = Addr;
    type Value = NodeAddr;
    const TABLE: Table = Table::NodeAddrs;

    fn table(maps: &mut Maps) -> &mut dyn HashTable<Self::Key, Self::Value> {
        &mut *maps.nodeaddrs
    }
    fn desired(mirror: &Mirror, key: &Self::Key) -> Option<Self::Value> {
        mirror.node_addresses.get(key).copied()
    }
    /// A machine has a handful: all of them.
    fn page(mirror: &Mirror, _: Cursor, _: usize) -> MirrorPage<Self> {
        let all = mirror.node_addresses.iter();
        (all.map(|(k, v)| (*k, *v)).collect(), None)
    }
    fn len(mirror: &Mirror) -> usize {
        mirror.node_addresses.len()
    }
}

impl Mirrored for Members {
    type Key = MemberKey;
    type Value = u32;
    const TABLE: Table = Table::Members;

    fn table(maps: &mut Maps) -> &mut dyn HashTable<Self::Key, Self::Value> {
        &mut *maps.members
    }
    fn desired(mirror: &Mirror, key: &Self::Key) -> Option<Self::Value> {
        let pool = mirror.pools.get(&key.pool)?;
        Some(pool.members().get(&key.backend)?.member_flags())
    }
    /// By pool, each by backend.
    fn page(mirror: &Mirror, at: Cursor, count: usize) -> MirrorPage<Self> {
        let mut found = Vec::new();
        let (mut index, mut from) = match at {
            Cursor::Index(index, from) => (index, from),
            _ => (1, 0),
        };
        // Indices without members take their time too.
        let mut looked = 0;
        while index < mirror.capacity[Table::Pools] {
            looked += 1;
            let pool = mirror.pools.get(&index).into_iter();
            for (&backend, flags) in pool.flat_map(|pool| pool.members().range(from..)) {
                if found.len() >= count {
                    return (found, Some(Cursor::Index(index, backend)));
                }
                let key = MemberKey {
                    pool: index,
                    backend,
                };
                found.push((key, flags.member_flags()));
            }
            (index, from) = (index + 1, 0);
            if looked >= 4 * count || found.len() >= count {
                return (found, Some(Cursor::Index(index, 0)));
            }
        }
        (found, None)
    }
    fn len(mirror: &Mirror) -> usize {
        mirror.members as usize
    }
}

impl Mirrored for SourceRanges {
    type Key = SourceRangeKey;
    type Value = u8;
    const TABLE: Table = Table::SourceRanges;

    fn table(maps: &mut Maps) -> &mut dyn HashTable<Self::Key, Self::Value> {
        &mut *maps.srcranges
    }
    fn desired(mirror: &Mirror, key: &Self::Key) -> Option<Self::Value> {
        let pool = mirror.pools.get(&key.data.pool)?;
        pool.source_ranges().contains(key).then_some(1)
    }
    /// All of them: the trie can only be asked for what is missing as a whole.
    fn page(mirror: &Mirror, _: Cursor, _: usize) -> MirrorPage<Self> {
        let pools = mirror.pools.values();
        let all = pools.flat_map(|pool| pool.source_ranges().iter().map(|key| (*key, 1)));
        (all.collect(), None)
    }
    fn len(mirror: &Mirror) -> usize {
        mirror.source_ranges as usize
    }
}

fn is_live(pools: &HashMap<u32, PoolState>) -> impl Fn(u32) -> bool {
    |index| pools.get(&index).is_some_and(PoolState::is_live)
}

fn frontends<K: Copy + Ord + Hash>(
    frontends: &FrontendTable<K>,
    at: Cursor,
    count: usize,
) -> (Vec<(K, FrontendValue)>, Option<Cursor>) {
    let end = match at {
        Cursor::Before(place) => place,
        _ => usize::MAX,
    };
    let (start, some) = frontends.before(end, count);
    let standing = some.filter_map(|(key, entry)| Some((key, entry?)));
    let next = (start > 0).then_some(Cursor::Before(start));
    (standing.collect(), next)
}
