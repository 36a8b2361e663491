//! How often this CPU refuses and explains itself.

use lb_common::Reason;

use crate::{config, count::count, flow, maps::REFUSALS};

/// May another answer of our own be sent? Counts those that may not.
#[inline(always)]
pub fn allows() -> bool {
    let Some(refusals) = REFUSALS.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: an element of a per-CPU array, which lives while the program runs; programs of the
    // packet path run one after the other on a CPU.
    let allowed = unsafe { (*refusals).take(flow::now(), config::refusals_per_second()) };
    if !allowed {
        count(Reason::PktRefusalLimited);
    }
    allowed
}
