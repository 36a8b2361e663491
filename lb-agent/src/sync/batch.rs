//! Batches over hash maps that go on behind a failed element. Owns which element's failure is whose.

use crate::datapath::table::{Batch, MapError};

/// Runs `items` through `write` and tells `done` or `failed` of each. Behind a failed element the rest is tried too, but
/// for those of which `skip` says (asked after each failure) that they have lost their point.
pub(super) fn run<T: Clone>(
    mut items: Vec<T>,
    mut write: impl FnMut(&[T]) -> Batch,
    mut report: impl FnMut(&T, Result<(), MapError>),
    mut skip: impl FnMut(&T) -> bool,
) {
    while !items.is_empty() {
        let Batch { done, error } = write(&items);
        for item in &items[..done] {
            report(item, Ok(()));
        }
        let Some(error) = error else {
            return;
        };
        let Some(bad) = items.get(done) else {
            return;
        };
        report(bad, Err(error));
        items.drain(..=done);
        items.retain(|item| !skip(item));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn the_rest_goes_on_and_what_lost_its_point_is_skipped() {
        let failed: RefCell<Vec<u32>> = RefCell::default();
        let mut done = Vec::new();
        // Odd numbers fail; after a failure, all of the same decade are pointless.
        run(
            vec![2, 3, 4, 12, 14, 15, 16, 22],
            |items| {
                let bad = items.iter().position(|n| n % 2 == 1);
                let error = bad.map(|_| MapError::Full {
                    map: "m",
                    capacity: 1,
                });
                Batch {
                    done: bad.unwrap_or(items.len()),
                    error,
                }
            },
            |n, result| match result {
                Ok(()) => done.push(*n),
                Err(_) => failed.borrow_mut().push(*n),
            },
            |n| failed.borrow().iter().any(|f| f / 10 == n / 10),
        );
        assert_eq!(done, [2, 12, 14, 22]);
        assert_eq!(*failed.borrow(), [3, 15]);
    }
}
