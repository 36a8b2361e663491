//! What tests of several tiers share: bad objects, and a cluster of thousands of Services.

pub mod bad;
pub mod scale;
