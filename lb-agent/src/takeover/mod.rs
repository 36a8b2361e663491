//! Takeover from kube-proxy: what it leaves on a machine, its removal without harm to open
//! connections, and the adoption of those.

pub mod adopt;
pub mod connections;
pub mod find;
pub mod foreign;
mod held;
mod legacy;
mod names;
pub mod neighbours;
mod process;
pub mod remove;
mod ruleset;

pub use process::running as kube_proxy_runs;
