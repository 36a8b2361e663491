//! How often this CPU refuses and explains itself, and how many connections it ends for their age.

use lb_common::{
    Reason,
    refusal::{OF_AGE_PER_SECOND, kind},
};

use crate::{config, count::count, flow, maps::REFUSALS};

/// May another answer of our own be sent? Counts those that may not.
#[inline(always)]
pub fn allows() -> bool {
    let allowed = take(kind::REFUSAL, config::refusals_per_second());
    if !allowed {
        count(Reason::PktRefusalLimited);
    }
    allowed
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
