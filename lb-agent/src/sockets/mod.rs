//! The sockets of this machine: their records, the recount of open connections, and SOCK_DESTROY.

pub mod destroy;
pub mod records;
pub mod recount;
