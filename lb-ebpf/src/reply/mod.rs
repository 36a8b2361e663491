//! Packets that we make ourselves, each from the packet in hand.

pub mod echo;
pub mod header;
pub mod icmp;
pub mod limit;
pub mod tcp_reset;
