//! How often this CPU refuses and explains itself.

use lb_common::Reason;

use crate::{bucket, count::count};

/// May another answer of our own be sent? Counts those that may not.
#[inline(always)]
pub fn allows() -> bool {
    let allowed = bucket::allows_refusal();
    if !allowed {
        count(Reason::PktRefusalLimited);
    }
    allowed
}
