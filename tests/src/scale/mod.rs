//! A cluster of thousands of Services: in few words, as manifests, and as the maps must hold it.

pub mod read;
pub mod world;
pub mod yaml;
