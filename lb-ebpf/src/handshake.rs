//! What became of handshakes with backends of watched pools (`lb_handshakes`). Nothing else writes
//! that map.

use lb_common::{Addr, pool::flags};

use crate::{
    atomic,
    maps::{BACKENDS, HANDSHAKES, POOLS},
    packet,
};

/// One more handshake with the backend of this id and address that failed or was answered (see
/// [`lb_common::handshakes`]), if its pool is watched: 1 then, else 0. It says nothing of another
/// backend that has the id by now. A function of the kernel's own, since it is rare.
#[inline(never)]
pub fn count(pool: u32, backend: u32, addr: &Addr, port: u16, what: u64) -> u32 {
    let Some(watched) = POOLS.get_ptr(pool) else {
        return 0;
    };
    // SAFETY: an element of an array map; one aligned u16, read once.
    if unsafe { (*watched).flags } & flags::WATCHED == 0 {
        return 0;
    }
    let (Some(now), Some(n)) = (BACKENDS.get(backend), HANDSHAKES.get_ptr_mut(backend)) else {
        return 0;
    };
    if now.port != port || !packet::same(&now.addr, addr) {
        return 0;
    }
    // SAFETY: an aligned u64 of an array map, changed by atomic additions only.
    unsafe { atomic::add(n.cast::<u64>(), what) };
    1
}
