//! Numbers of [`Pool::scheduler`](crate::pool::Pool::scheduler).

/// Uniform, a fresh number for each connection; deterministic on the 5-tuple in the packet path.
pub const RANDOM: u8 = 0;
/// Round robin by the cursor in `lb_sched`.
pub const RR: u8 = 1;
/// Weighted round robin: the slots are already expanded by weight; the cursor walks them.
pub const WRR: u8 = 2;
/// Fewest open connections (`lb_active`).
pub const LC: u8 = 3;
/// Fewest open connections per weight.
pub const WLC: u8 = 4;
/// Hash of the source address.
pub const SH: u8 = 5;
/// Hash of the 5-tuple into a Maglev table expanded into the slots.
pub const MAGLEV: u8 = 6;
