//! Translations: of packets in socket buffers and of frames, and the ways on which they leave.

pub mod frame;
mod hop;
pub mod icmp_inner;
pub mod redirect;
pub mod skb;

pub use hop::Hop;
