//! Tier 5: what only guests with other kernels have. Run by `cargo xtask vm`.

mod ipvs;
mod sctp_sockets;
mod vlan;
