//! Which devices the packet path is attached to.

/// Devices of the packet path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Devices {
    /// Those with a node address, a default route or a route to backends, followed live.
    Auto,
    /// Exactly these.
    Named(Vec<String>),
}
