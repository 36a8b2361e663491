//! The agent's HTTP servers: health, metrics with the page beside them, and the health check ports of Services.

pub mod checks;
mod connection;
pub mod http;
pub mod local;
mod page;
mod probe;
