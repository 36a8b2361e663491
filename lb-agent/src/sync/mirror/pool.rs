//! What the maps hold under one pool index.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::{
    pool::{Pool, flags, slots_and_weights},
    slot::Slot,
    spill::Area,
};

use super::slot_ranges::Range;
use crate::{maps::table::SourceRangeKey, plan::desired::MemberFlags};

/// The entry of a pool in its map.
pub(crate) type Entry = Pool;

/// What a pool's range of slots holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct SlotContent {
    /// Backend ids: the slots.
    pub(crate) ids: Box<[u32]>,
    /// The weights behind the slots: as many, or none.
    pub(crate) weights: Box<[u16]>,
    /// What stands behind them where connections may leave, see [`lb_common::spill`].
    pub(crate) spill: Option<SpillContent>,
}

/// The same of whom connections leave, and for whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SpillContent {
    /// See [`Area::share`].
    pub(crate) share: u16,
    /// Backend ids.
    pub(crate) inside: Box<[u32]>,
    /// Backend ids.
    pub(crate) outside: Box<[u32]>,
}

impl SpillContent {
    fn elements(&self, index: u32, generation: u16) -> impl Iterator<Item = Slot> {
        let count = |ids: &[u32]| u16::try_from(ids.len()).unwrap_or(u16::MAX);
        let area = Area {
            share: self.share,
            inside: count(&self.inside),
            outside: count(&self.outside),
        };
        let ids = self.inside.iter().chain(&self.outside);
        let slots = ids.map(move |&backend| Slot {
            backend,
            pool: index,
        });
        area.words(index, generation).into_iter().chain(slots)
    }
}

impl SlotContent {
    /// The inverse of [`SlotContent::elements`], of as many elements as the entry and the area (if
    /// there is one) say; `None` if one of them is another pool's.
    pub(super) fn of(
        index: u32,
        entry: &Entry,
        area: Option<Area>,
        elements: &[Slot],
    ) -> Option<Self> {
        let ids = |slots: &[Slot]| -> Option<Box<[u32]>> {
            let own = |slot: &Slot| (slot.pool == index).then_some(slot.backend);
            slots.iter().map(own).collect()
        };
        let weight = |slot: &Slot| slot.as_weight(index)?.try_into().ok();
        let slots_and_weights = slots_and_weights(entry.count, entry.flags);
        let (before, behind) = elements.split_at(slots_and_weights as usize);
        let (slots, weights) = before.split_at(entry.count.into());
        let spill = match area {
            None => None,
            Some(Area { share, inside, .. }) => {
                let (_, slots) = behind.split_at(Area::WORDS as usize);
                let (inside, outside) = slots.split_at(inside.into());
                let (inside, outside) = (ids(inside)?, ids(outside)?);
                Some(SpillContent {
                    share,
                    inside,
                    outside,
                })
            }
        };
        Some(Self {
            ids: ids(slots)?,
            weights: weights.iter().map(weight).collect::<Option<_>>()?,
            spill,
        })
    }

    /// Slots and what stands behind them, as the map holds them for the pool of this index and the
    /// generation of its word 0.
    pub(crate) fn elements(&self, index: u32, generation: u16) -> impl Iterator<Item = Slot> {
        let ids = self.ids.iter().map(move |&backend| Slot {
            backend,
            pool: index,
        });
        let weights = self.weights.iter();
        let weights = weights.map(move |weight| Slot::weight(index, *weight));
        let spill = self.spill.iter();
        ids.chain(weights)
            .chain(spill.flat_map(move |spill| spill.elements(index, generation)))
    }
}

/// The mirror of one pool index, updated element by element as writes succeed.
pub(crate) struct PoolState {
    /// A planned Service holds it; false for one that a previous agent left, until it is
    /// recognised.
    owned: bool,
    /// What the maps hold here is what its Service wants, or wanted. A pool that is recognised by
    /// a frontend may hold what another Service left, until it is written or compared.
    verified: bool,
    entry: Entry,
    range: Option<Range>,
    slots: SlotContent,
    members: BTreeMap<u32, MemberFlags>,
    source_ranges: BTreeSet<SourceRangeKey>,
    /// Frontends in the maps that lead here.
    references: u32,
}

/// A pool of this agent's own, with nothing in the maps.
impl Default for PoolState {
    fn default() -> Self {
        Self {
            owned: true,
            verified: true,
            entry: Entry::EMPTY,
            range: None,
            slots: SlotContent::default(),
            members: BTreeMap::new(),
            source_ranges: BTreeSet::new(),
            references: 0,
        }
    }
}

impl PoolState {
    /// A pool that a previous agent left.
    pub(super) fn left_over(entry: Entry) -> Self {
        Self {
            owned: false,
            verified: false,
            entry,
            ..Self::default()
        }
    }

    /// A planned Service holds it.
    pub(crate) fn is_owned(&self) -> bool {
        self.owned
    }

    /// Its entry is written and is its Service's own, so that frontends may lead to it.
    pub(crate) fn is_live(&self) -> bool {
        self.entry.id != 0 && self.verified
    }

    /// Its entry in the map.
    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Are connections of backends that are no longer members reset?
    pub(crate) fn resets(&self) -> bool {
        self.entry.flags & flags::RESET != 0
    }

    /// Where its slots are, if it has any.
    pub(crate) fn range(&self) -> Option<Range> {
        self.range
    }

    /// What is in its slots.
    pub(crate) fn slots(&self) -> &SlotContent {
        &self.slots
    }

    /// Entries of `lb_members`.
    pub(crate) fn members(&self) -> &BTreeMap<u32, MemberFlags> {
        &self.members
    }

    /// Entries of `lb_srcranges`.
    pub(crate) fn source_ranges(&self) -> &BTreeSet<SourceRangeKey> {
        &self.source_ranges
    }

    /// Frontends in the maps that lead here.
    pub(crate) fn references(&self) -> u32 {
        self.references
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.source_ranges.is_empty()
    }

    pub(super) fn adopt(&mut self) {
        self.owned = true;
    }

    pub(super) fn verify(&mut self) {
        self.verified = true;
    }

    pub(super) fn set_entry(&mut self, entry: Entry) {
        self.entry = entry;
    }

    /// Returns the range that its slots had before.
    pub(super) fn set_slots(&mut self, slots: SlotContent, range: Option<Range>) -> Option<Range> {
        self.slots = slots;
        std::mem::replace(&mut self.range, range)
    }

    /// Returns the flags that it had before.
    pub(super) fn insert_member(&mut self, id: u32, flags: MemberFlags) -> Option<MemberFlags> {
        self.members.insert(id, flags)
    }

    /// Returns the flags that it had.
    pub(super) fn remove_member(&mut self, id: u32) -> Option<MemberFlags> {
        self.members.remove(&id)
    }

    /// True if it is new.
    pub(super) fn insert_source_range(&mut self, key: SourceRangeKey) -> bool {
        self.source_ranges.insert(key)
    }

    /// True if it was there.
    pub(super) fn remove_source_range(&mut self, key: &SourceRangeKey) -> bool {
        self.source_ranges.remove(key)
    }

    pub(super) fn add_reference(&mut self) {
        self.references += 1;
    }

    pub(super) fn drop_reference(&mut self) {
        self.references -= 1;
    }
}
