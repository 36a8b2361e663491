//! What became of the handshakes with a backend. Layout of `lb_handshakes`.

/// Value of `lb_handshakes`, by backend id: counted for pools with
/// [`WATCHED`](crate::pool::flags::WATCHED) alone. Both only grow, and wrap; they go on from where they are when the id is given to another
/// backend.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Handshakes {
    /// SYNs that nobody answered for as long as their sender waits, and those that a reset answered.
    pub failed: u32,
    /// Those that were answered as a listener answers.
    pub answered: u32,
}

/// To be added to the value, as one aligned little-endian word, for one more that failed.
pub const FAILED: u64 = 1;
/// Likewise for one more that was answered.
pub const ANSWERED: u64 = 1 << 32;

const _: () = assert!(size_of::<Handshakes>() == 8);
