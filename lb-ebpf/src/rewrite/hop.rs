//! The time to live of a rewritten packet.

/// What a rewrite does to the time to live, or the hop limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// The packet stays on this node, or the stack will take the hop.
    Keep,
    /// The packet is forwarded: one less.
    Spend,
}
