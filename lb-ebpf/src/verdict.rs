//! What a tc program returns.

use aya_ebpf::bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC};
use lb_common::Reason;

use crate::count::count;

/// What a tc program returns; it becomes an int in the programs' entries alone.
///
/// Without a payload, for functions of the kernel's own return one register.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
#[must_use]
pub enum Verdict {
    /// The next program, or the stack: TCX_NEXT and TC_ACT_UNSPEC are the same number.
    Next = TC_ACT_UNSPEC,
    /// Dropped.
    Shot = TC_ACT_SHOT,
    /// Sent, or put in, where a helper for redirection said.
    Redirect = TC_ACT_REDIRECT,
}

impl Verdict {
    /// Dropped, and counted under this reason.
    #[inline(always)]
    pub fn dropped(reason: Reason) -> Self {
        count(reason);
        Self::Shot
    }

    /// What a helper for redirection returned: its packets are sent, or dropped.
    #[inline(always)]
    pub fn of_redirect(rc: i64) -> Self {
        if rc as i32 == TC_ACT_REDIRECT {
            Self::Redirect
        } else {
            Self::Shot
        }
    }
}
