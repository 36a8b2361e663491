//! What the agent tells others about itself: health and metrics over HTTP.

pub mod checks;
mod connection;
pub mod health;
pub mod http;
pub mod kernel;
pub mod metrics;
mod probe;
