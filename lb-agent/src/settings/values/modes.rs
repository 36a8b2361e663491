//! Settings that choose one of a few ways to work.

use clap::ValueEnum;

/// Where a driver lacks native XDP; and whether XDP sends out of veth devices, whose other end must have it too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum XdpMode {
    /// The device is left to tc.
    #[default]
    Auto,
    /// The agent refuses to start.
    Native,
}

/// Whose sockets are translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum SocketLb {
    /// Every Pod's and the host's.
    #[default]
    All,
    /// Those in the host's network namespace.
    Host,
    /// None.
    Off,
}

/// What becomes of connected UDP sockets whose backend stops serving.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum SocketReset {
    /// They are reset, as far as the agent may: their owners see ECONNABORTED and connect anew.
    #[default]
    Auto,
    /// They are left alone, and talk to nobody.
    Off,
}

/// Are service addresses routed to the device `lb0`?
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Lb0Mode {
    /// Yes: it answers ping and balances what no socket hook saw.
    #[default]
    On,
    /// No; one that is there is removed.
    Off,
}
