//! lb-agent: watch → model → plan → diff → apply, from Kubernetes objects to BPF maps. One task
//! owns model, plan and sync; everything asynchronous stands at the edges.
#![forbid(unsafe_code)]

pub mod bootstrap;
pub mod cli;
pub mod clients;
pub mod documents;
pub mod explain;
pub mod flows;
pub mod hooks;
pub mod inventory;
mod kept;
pub mod lb0;
pub mod load;
pub mod logging;
pub mod maps;
pub mod model;
pub mod names;
pub mod netfilter;
pub mod netlink;
pub mod node;
pub mod observe;
pub mod page;
pub mod plan;
pub mod quarantine;
pub mod run;
pub mod serve;
pub mod settings;
pub mod sockets;
pub mod sync;
pub mod takeover;
pub mod trace;
mod visible;
pub mod watch;
