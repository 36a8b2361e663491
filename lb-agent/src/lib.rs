//! lb-agent: watch → model → plan → diff → apply, from Kubernetes objects to BPF maps. One task owns model, plan and sync;
//! everything asynchronous stands at the edges.
#![forbid(unsafe_code)]

pub mod datapath;
pub mod model;
pub mod node;
pub mod plan;
pub mod sync;
pub mod watch;
