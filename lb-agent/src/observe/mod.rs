//! What the agent reports about itself: metrics, health, log, Events and the file of problems.
//! Components return reports, and the reporters here turn them into these. Imports no HTTP, and of
//! the settings the plain values alone.

pub mod audits;
mod error_text;
pub mod event_file;
pub mod events;
pub(crate) mod flow_sweeps;
pub mod health;
pub mod kernel;
pub mod kubeproxy;
pub mod labels;
pub mod metrics;
pub(crate) mod name_keeper;
pub mod names;
pub(crate) mod namespaces;
pub(crate) mod node_conditions;
pub(crate) mod node_events;
pub(crate) mod once;
mod plain_text;
pub mod pod_file;
pub(crate) mod port_conflicts;
pub mod problem_file;
mod process;
pub(crate) mod quarantines;
pub(crate) mod recounts;
pub mod service_metrics;
pub(crate) mod snat_ports;
pub(crate) mod socket_resets;
pub(crate) mod sync_report;

pub(crate) use error_text::chain;
