//! Everything the kernel side and the agent must agree on: map keys and values, reasons, and the
//! choice of a backend. Knows nothing of Kubernetes and performs no input or output.
#![expect(
    clippy::inline_always,
    reason = "the kernel runs this code too, and its verifier follows no call cheaply"
)]
#![cfg_attr(not(any(feature = "user", test)), no_std)]

pub mod addr;
pub mod affinity;
pub mod backend;
pub mod crc32c;
pub mod csum;
pub mod dev;
pub mod flow;
pub mod fragment;
pub mod frontend;
pub mod handshakes;
pub mod hash;
pub mod known;
pub mod lb0;
pub mod least;
pub mod load;
pub mod maps;
pub mod masquerade;
pub mod member;
#[cfg(feature = "user")]
mod pod;
pub mod pool;
pub mod reason;
pub mod refusal;
pub mod scheduler;
pub mod select;
pub mod slot;
pub mod sock;
pub mod spill;
pub mod srcrange;
pub mod stats;
pub mod tcp;
pub mod trace;
pub mod xdp_dev;

pub use addr::{Addr, Proto};
pub use reason::Reason;
