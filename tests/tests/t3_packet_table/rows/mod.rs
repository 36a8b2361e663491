//! The rows, by noun.

mod flows;

use crate::row::Row;

/// All of them.
pub(crate) fn all() -> Vec<Row> {
    [flows::rows()].into_iter().flatten().collect()
}
