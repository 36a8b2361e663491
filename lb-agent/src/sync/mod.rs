//! From plans to maps: every write of the maps of Services, its order, the ids, and what is
//! retried. It never sees Kubernetes, a clock, or which kernel is below.
//!
//! What is new is written before anything leads to it: backends → members → slots → word 0 →
//! frontends. What goes loses what leads to it first, and its place is reused only behind a
//! barrier, when no program that saw it can still be running. Barriers are lazy: what is retired
//! waits until its place is needed, or until [`Engine::settle`].
//!
//! Floors, from the top: `audit` and `engine`, `write`, `mirror`, `report`.

mod audit;
pub mod dump;
mod engine;
mod mirror;
mod report;
mod write;

pub use audit::{Audit, ORDER as AUDIT_ORDER, Place};
pub use engine::{Association, Engine, Watched};
pub use report::{Failure, FailureCause, HealthCheck, Report, Snapshot, Usage, Writes};

#[cfg(test)]
pub(crate) mod tests;
