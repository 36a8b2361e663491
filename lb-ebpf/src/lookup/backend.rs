//! Backends by id, and which services they are members of.

use lb_common::{
    backend::{self, Backend},
    member::MemberKey,
};

use crate::maps::{BACKENDS, MEMBERS};

/// A backend by id, copied; `None` for a free id.
#[inline(always)]
pub fn backend(id: u32) -> Option<Backend> {
    let b = *BACKENDS.get(id)?;
    (b.port != 0).then_some(b)
}

/// Is the backend still a member of the pool, with all of the flags `wanted` (see
/// [`lb_common::member`])?
#[inline(always)]
pub fn is_member(pool: u32, backend: u32, wanted: u32) -> bool {
    // SAFETY: one aligned u32, read once; an element reused for another key fails the caller's next
    // check at worst once.
    match unsafe { MEMBERS.get(&MemberKey { pool, backend }) } {
        Some(flags) => *flags & wanted == wanted,
        None => false,
    }
}

/// Has this machine its address?
#[inline(always)]
pub fn is_own(b: &Backend) -> bool {
    b.flags & backend::flags::OWN != 0
}

/// Runs on this node?
#[inline(always)]
pub fn is_local(b: &Backend) -> bool {
    b.flags & backend::flags::LOCAL != 0
}
