//! What the agent tells others about itself: health and metrics over HTTP.

pub mod audits;
pub mod checks;
mod connection;
pub mod health;
pub mod http;
pub mod kernel;
pub mod kubeproxy;
pub mod labels;
pub mod metrics;
mod probe;
