//! This machine's netfilter, read and changed by netlink alone: no program of the machine is
//! needed, and no capability beyond `CAP_NET_ADMIN`.

mod attributes;
pub mod conntrack;
mod expressions;
pub mod keeper;
pub mod masquerade;
mod message;
pub mod named;
mod socket;
pub mod tables;

pub use socket::Socket;

/// Numbers of the kernel's subsystems (`linux/netfilter/nfnetlink.h`).
mod subsystem {
    pub(super) const CONNTRACK: u8 = 1;
    pub(super) const IPSET: u8 = 6;
    pub(super) const ACCOUNTS: u8 = 7;
    pub(super) const NFTABLES: u8 = 10;
}
