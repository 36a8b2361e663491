//! Whether a pinned map fits the object's definition (pure).

#[cfg(test)]
mod tests;

use lb_common::maps::MapSpec;

/// What must agree between a pinned map and the object's definition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// `enum bpf_map_type`
    pub kind: u32,
    /// Bytes.
    pub key_size: u32,
    /// Bytes.
    pub value_size: u32,
    /// Entries.
    pub capacity: u32,
    /// `BPF_F_*`
    pub flags: u32,
}

/// The pin of a map, if there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pinned {
    /// Of the map that is pinned.
    pub layout: Option<Layout>,
    /// Which of the map's names it has.
    pub name: PinName,
}

/// Which of a map's names its pin has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinName {
    /// Today's.
    Current,
    /// The one that agents gave it before it was renamed.
    Former,
}

/// What happens to one map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// No pin: a new map.
    Create,
    /// The pin is reused.
    Reuse,
    /// The pin is reused with its old capacity, since its content is live state.
    KeepCapacity,
    /// A new map takes the pin's place once the programs use it.
    Replace,
}

/// Compares a pin with the object's definition. A map keeps the name of its creation in the kernel,
/// so a config map under its former name is replaced; a state map keeps its content.
#[must_use]
pub fn fate(spec: &MapSpec, desired: Layout, pinned: Pinned) -> Fate {
    let Pinned { layout, name } = pinned;
    let Some(pinned) = layout else {
        return Fate::Create;
    };
    if name == PinName::Former && !spec.is_state() {
        return Fate::Replace;
    }
    if pinned == desired {
        return Fate::Reuse;
    }
    let same_but_capacity = Layout {
        capacity: desired.capacity,
        ..pinned
    } == desired;
    if spec.is_state() && same_but_capacity {
        Fate::KeepCapacity
    } else {
        Fate::Replace
    }
}

/// Whether all config maps are replaced together. They refer to each other by index, and programs
/// run on the old ones until their links are swapped. So if one is replaced or missing, all of them
/// are new, unless none exists yet. Scratch maps are nobody else's business.
#[must_use]
pub fn config_together(fates: &[(MapSpec, Fate)]) -> bool {
    let config = || fates.iter().filter(|(spec, _)| spec.is_config());
    let all_fit = config().all(|(_, f)| *f == Fate::Reuse);
    let none_yet = config().all(|(_, f)| *f == Fate::Create);
    !all_fit && !none_yet
}
