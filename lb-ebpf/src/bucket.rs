//! What this CPU does so often at most: a bucket of tokens for each (see `lb_common::refusal`).

use lb_common::refusal::{OF_AGE_PER_SECOND, kind};

use crate::{config, flow, maps::REFUSALS};

/// May another answer of our own be sent?
#[inline(always)]
pub fn allows_refusal() -> bool {
    take(kind::REFUSAL, config::refusals_per_second())
}

/// May another connection be ended for its age? Else it stays until its turn comes.
#[inline(always)]
pub fn allows_end() -> bool {
    take(kind::OF_AGE, OF_AGE_PER_SECOND)
}

#[inline(always)]
fn take(kind: u32, per_second: u32) -> bool {
    let Some(bucket) = REFUSALS.get_ptr_mut(kind) else {
        return false;
    };
    // SAFETY: an element of a per-CPU array, which lives while the program runs; programs of the
    // packet path run one after the other on a CPU.
    unsafe { (*bucket).take(flow::now(), per_second) }
}
