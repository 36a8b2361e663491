//! Loading, pinning and attaching on a real kernel: in a network namespace, a cgroup and a pin
//! directory of its own.

mod attach;
pub(crate) mod bare_node;
mod machine;
mod maps;
mod others;
