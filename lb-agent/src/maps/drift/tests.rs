use super::*;

fn by<const N: usize>(counts: [(u32, i64); N]) -> BTreeMap<u32, i64> {
    counts.into()
}

#[test]
fn a_change_during_the_walk_is_no_drift() {
    let found = drift(
        &by([(1, 5), (2, 9)]),
        &by([(1, 7), (2, 8)]),
        &by([(1, 8), (2, 7)]),
    );
    assert_eq!(found, by([]));
}

#[test]
fn drift_is_the_number_to_add_to_a_count() {
    let before = by([(1, 5), (2, 3), (4, -1)]);
    let found = drift(&before, &by([(1, 7), (3, 1)]), &before);
    assert_eq!(found, by([(1, 2), (2, -3), (3, 1), (4, 1)]));
}

#[test]
fn only_drift_that_the_last_run_saw_too_is_repaired() {
    let last = by([(1, 2), (2, -3), (3, 1), (5, -4)]);
    let now = by([(1, 5), (2, -1), (3, -1), (4, 7), (5, -4)]);
    assert_eq!(lasting(&last, &now), by([(1, 2), (2, -1), (5, -4)]));
}
