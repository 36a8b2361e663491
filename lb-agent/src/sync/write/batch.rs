//! Batches over hash maps that go on behind a failed element, and say which element failed.

use crate::maps::table::{Batch, MapError};

/// Runs `items` through `write` and calls `report` for each. Behind a failed element the rest is
/// tried too, except the items that `skip` names when their turn comes. The cost grows with the
/// number of items only, even if all of them fail, as in a full map: behind a failure pieces are
/// small, and double with each success.
pub(crate) fn run<T>(
    items: &[T],
    mut write: impl FnMut(&[T]) -> Batch,
    mut report: impl FnMut(&T, Result<(), MapError>),
    mut skip: impl FnMut(&T) -> bool,
) {
    let mut rest = items;
    let mut most = items.len();
    while let Some((first, behind)) = rest.split_first() {
        if skip(first) {
            rest = behind;
            continue;
        }
        let wanted = rest.iter().take(most).take_while(|item| !skip(item));
        let piece = &rest[..wanted.count()];
        let Batch { done, error } = write(piece);
        for item in &piece[..done] {
            report(item, Ok(()));
        }
        rest = &rest[done..];
        if let (Some(error), Some((bad, behind))) = (error, rest.split_first()) {
            report(bad, Err(error));
            rest = behind;
            most = 1;
        } else {
            most = most.saturating_mul(2);
        }
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
            &[2, 3, 4, 12, 14, 15, 16, 22],
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

    #[test]
    fn a_full_map_costs_one_try_an_element() {
        let tried = RefCell::new(0);
        let items: Vec<u32> = (0..10_000).collect();
        let mut failed = 0;
        // Room for the first 100, and for the one or other that comes later.
        run(
            &items,
            |piece| {
                *tried.borrow_mut() += piece.len();
                let bad = piece.iter().position(|n| *n >= 100 && n % 1000 != 0);
                Batch {
                    done: bad.unwrap_or(piece.len()),
                    error: bad.map(|_| MapError::Full {
                        map: "m",
                        capacity: 100,
                    }),
                }
            },
            |_, result| failed += usize::from(result.is_err()),
            |_| false,
        );
        assert_eq!(failed, 10_000 - 100 - 9);
        assert!(*tried.borrow() < 30_000, "{} for 10000", tried.borrow());
    }
}
