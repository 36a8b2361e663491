//! From plans to maps. Owns every map write of services, its order, the ids, and what is retried; knows nothing of
//! Kubernetes, of time, or of which kernel is below.
//!
//! Whatever is new is written before anything leads to it: backends → members → slots → word 0 → frontends. Whatever goes
//! loses what leads to it first, and its place is given to something else only behind a barrier, when no program that saw
//! it can still be running. Barriers are lazy: what is retired waits until its place is needed, or until
//! [`Engine::settle`].

mod apply;
mod audit;
mod backends;
mod batch;
mod claiming;
mod diff;
pub mod dump;
mod elements;
mod engine;
mod fronts;
mod ids;
mod pool;
mod publish;
mod ranges;
mod report;
mod restore;
mod retry;
mod stale;
mod state;
mod told;

pub use audit::{Audit, Part, Place};
pub use engine::Engine;
pub use report::{Failure, FailureCause, HealthCheck, Report, Snapshot, Usage, Writes};
pub use stale::Pair;

#[cfg(test)]
pub(crate) mod tests;
