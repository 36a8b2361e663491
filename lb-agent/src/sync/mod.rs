//! From plans to maps. Owns every map write of services, its order, the ids, and what is retried; knows nothing of
//! Kubernetes, of time, or of which kernel is below.
//!
//! Whatever is new is written before anything leads to it: backends → members → slots → word 0 → frontends. Whatever goes
//! loses what leads to it first, and its place is given to something else only behind a barrier, when no program that saw
//! it can still be running. Barriers are lazy: what is retired waits until its place is needed, or until
//! [`Engine::settle`].

mod audit;
pub mod dump;
mod engine;
mod mirror;
mod report;
mod write;

pub use audit::{Audit, ORDER as AUDIT_ORDER, Place};
pub use engine::{Engine, UdpAssociation};
pub use report::{Failure, FailureCause, HealthCheck, Report, Snapshot, Usage, Writes};

#[cfg(test)]
pub(crate) mod tests;
