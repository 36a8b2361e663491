//! Does a pinned map fit the object's definition? Owns that question alone, without input or output.

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

/// What becomes of one map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// No pin: a new map.
    Create,
    /// The pin is used on.
    Reuse,
    /// The pin is used on with its old capacity: what it holds is worth more.
    KeepCapacity,
    /// A new map takes the pin's place once the programs use it.
    Replace,
}

/// Compares a pin (if there is one) with what the object wants.
#[must_use]
pub fn fate(state: bool, wanted: Layout, pinned: Option<Layout>) -> Fate {
    let Some(pinned) = pinned else {
        return Fate::Create;
    };
    if pinned == wanted {
        return Fate::Reuse;
    }
    let same_but_capacity = Layout {
        capacity: wanted.capacity,
        ..pinned
    } == wanted;
    if state && same_but_capacity {
        Fate::KeepCapacity
    } else {
        Fate::Replace
    }
}

/// Config maps refer to each other by index, and programs run on the old ones until their links are swapped: so one that is
/// replaced or missing makes all of them new, unless there is none yet.
#[must_use]
pub fn config_together(fates: &[(MapSpec, Fate)]) -> bool {
    let config = || fates.iter().filter(|(spec, _)| !spec.state);
    let all_fit = config().all(|(_, f)| *f == Fate::Reuse);
    let none_yet = config().all(|(_, f)| *f == Fate::Create);
    !all_fit && !none_yet
}

#[cfg(test)]
mod tests {
    use lb_common::maps;

    use super::*;

    const HASH: Layout = Layout {
        kind: 1,
        key_size: 20,
        value_size: 8,
        capacity: 100,
        flags: 0,
    };

    #[test]
    fn a_pin_that_equals_the_definition_is_reused() {
        assert_eq!(fate(false, HASH, None), Fate::Create);
        for state in [false, true] {
            assert_eq!(fate(state, HASH, Some(HASH)), Fate::Reuse);
        }
    }

    #[test]
    fn another_capacity_replaces_config_and_keeps_state() {
        let bigger = Layout {
            capacity: 200,
            ..HASH
        };
        assert_eq!(fate(false, bigger, Some(HASH)), Fate::Replace);
        assert_eq!(fate(true, bigger, Some(HASH)), Fate::KeepCapacity);
    }

    #[test]
    fn another_layout_is_always_replaced() {
        for other in [
            Layout { kind: 9, ..HASH },
            Layout {
                key_size: 24,
                ..HASH
            },
            Layout {
                value_size: 16,
                ..HASH
            },
            Layout { flags: 1, ..HASH },
        ] {
            for state in [false, true] {
                assert_eq!(fate(state, HASH, Some(other)), Fate::Replace, "{other:?}");
            }
        }
    }

    #[test]
    fn config_maps_change_together_or_not_at_all() {
        use Fate::{Create, Replace, Reuse};
        let together = |slots, svc, flows| {
            config_together(&[
                (maps::SLOTS, slots),
                (maps::POOLS, svc),
                (maps::FLOWS, flows),
            ])
        };
        assert!(!together(Create, Create, Create));
        assert!(!together(Create, Create, Reuse));
        assert!(!together(Reuse, Reuse, Create));
        assert!(!together(Reuse, Reuse, Replace));
        assert!(together(Replace, Reuse, Reuse));
        assert!(together(Create, Reuse, Reuse));
    }
}
