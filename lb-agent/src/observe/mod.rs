//! What the agent reports about itself: metrics, health, Events and the file of problems. Imports no HTTP and no settings.

pub mod audits;
mod error_text;
pub mod events;
pub mod health;
pub mod kernel;
pub mod kubeproxy;
pub mod labels;
pub mod metrics;
pub(crate) mod node_conditions;
pub(crate) mod node_events;
pub mod problem_file;
pub(crate) mod sync_report;

pub(crate) use error_text::chain;
