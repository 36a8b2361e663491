//! Counters of a pool. Layout of `lb_pool_stats`.

/// Value of `lb_pool_stats`, one a CPU.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct PoolStats {
    /// Connections (and unconnected UDP datagrams' first choices) given a backend.
    pub connections: u64,
    /// Packets translated by the packet path, both directions.
    pub packets: u64,
    /// Their bytes, from the network header.
    pub bytes: u64,
    /// Connections or packets refused or dropped for this pool.
    pub rejects: u64,
}

const _: () = assert!(size_of::<PoolStats>() == 32);
