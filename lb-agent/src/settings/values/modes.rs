//! Settings that choose one of a few ways to work.

use clap::ValueEnum;

/// What to do if a driver has no native XDP; and whether XDP forwards out of veth devices, where
/// the peer device must run XDP too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum XdpMode {
    /// The device is left to tc.
    #[default]
    Auto,
    /// The agent refuses to start.
    Native,
}

/// Which sockets are load-balanced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum SocketLb {
    /// Every Pod's and the host's, but those in network namespaces that translate by themselves (a
    /// mesh's side-car, a nested cluster) or that have a cluster IP themselves.
    #[default]
    Auto,
    /// Every Pod's and the host's, and every other container's.
    All,
    /// Those in the host's network namespace.
    Host,
    /// None.
    Off,
}

/// Whether connected UDP sockets are reset when their backend stops serving.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum SocketReset {
    /// They are reset, as far as permissions allow: applications see ECONNABORTED and reconnect.
    #[default]
    Auto,
    /// They keep sending to the old backend.
    Off,
}

/// Is bind() to a programmed node port refused, in the host's network namespace?
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum BindHold {
    /// Yes, where the node port answers: a server there would never be reached.
    #[default]
    On,
    /// No.
    Off,
}

/// Are service addresses routed to the device `lb0`?
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Lb0Mode {
    /// Yes: `lb0` answers ping and load-balances traffic that no socket hook handled.
    #[default]
    On,
    /// No: an existing `lb0` is removed.
    Off,
}
