//! The maps in memory, for pure tests of the sync engine, with failures on demand. Knows the same limits as the kernel's.
