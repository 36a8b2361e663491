//! What tests of several tiers share: bad objects, a cluster of thousands of Services, and what IPVS
//! chose.

pub mod bad;
pub mod ipvs;
pub mod scale;
