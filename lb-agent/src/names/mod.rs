//! Names for what maps hold: the Service behind a frontend, the pod behind a backend. The agent keeps
//! them in files beside its other state, so that verbs show them also when no agent runs. Knows no
//! map: names are found by what a client connects to, which no other Service can have.

pub mod book;
pub mod record;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;

pub use book::{Book, Named};
pub use record::{Draft, NamedEndpoint, NamedPort, NamedService};
pub use store::{Changes, NameFiles};
