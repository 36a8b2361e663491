use lb_common::maps;

use super::*;

const HASH: Layout = Layout {
    kind: 1,
    key_size: 20,
    value_size: 8,
    capacity: 100,
    flags: 0,
};

const NONE: Pinned = Pinned {
    layout: None,
    name: PinName::Current,
};

fn pinned(layout: Layout) -> Pinned {
    Pinned {
        layout: Some(layout),
        name: PinName::Current,
    }
}

#[test]
fn under_a_former_name_state_is_reused_and_config_is_replaced() {
    let former = Pinned {
        name: PinName::Former,
        ..pinned(HASH)
    };
    assert_eq!(fate(&maps::POOL_STATS, HASH, former), Fate::Reuse);
    assert_eq!(fate(&maps::POOLS, HASH, former), Fate::Replace);
    let bigger = Layout {
        capacity: 200,
        ..HASH
    };
    assert_eq!(fate(&maps::POOL_STATS, bigger, former), Fate::KeepCapacity);
    assert_eq!(fate(&maps::POOLS, bigger, former), Fate::Replace);
}

#[test]
fn a_pin_that_equals_the_definition_is_reused() {
    assert_eq!(fate(&maps::SLOTS, HASH, NONE), Fate::Create);
    for spec in [maps::SLOTS, maps::FLOWS] {
        assert_eq!(fate(&spec, HASH, pinned(HASH)), Fate::Reuse);
    }
}

#[test]
fn another_capacity_replaces_config_and_keeps_state() {
    let bigger = Layout {
        capacity: 200,
        ..HASH
    };
    assert_eq!(fate(&maps::SLOTS, bigger, pinned(HASH)), Fate::Replace);
    assert_eq!(fate(&maps::FLOWS, bigger, pinned(HASH)), Fate::KeepCapacity);
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
        for spec in [maps::SLOTS, maps::FLOWS] {
            assert_eq!(fate(&spec, HASH, pinned(other)), Fate::Replace, "{other:?}");
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

#[test]
fn a_scratch_map_is_replaced_alone() {
    for spec in [maps::SCRATCH, maps::TRACE_RUNS, maps::TRACE_FILTER] {
        for fate in [Fate::Create, Fate::Replace] {
            let fates = [(maps::SLOTS, Fate::Reuse), (spec, fate)];
            assert!(!config_together(&fates), "{}", spec.name);
        }
        let other = Layout {
            value_size: 16,
            ..HASH
        };
        assert_eq!(fate(&spec, HASH, pinned(other)), Fate::Replace);
    }
}
