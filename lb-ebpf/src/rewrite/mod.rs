//! Translations of packets and frames.

pub mod icmp_inner;
pub mod skb;
