//! Backends: where a connection goes. Owns the layout of `lb_backends`.

use crate::addr::Addr;

/// Value of `lb_backends`, by backend id. An id is given to another backend only after an RCU
/// barrier, so a reader that holds an id reads one backend, never a mix of two.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Backend {
    /// Where it listens.
    pub addr: Addr,
    /// Host byte order; 0 marks a free id.
    pub port: u16,
    /// IANA protocol number.
    pub proto: u8,
    /// See [`state`].
    pub state: u8,
    /// Relative weight, 0 to 65535; 100 is the default.
    pub weight: u16,
    /// See [`flags`].
    pub flags: u16,
}

/// Numbers of [`Backend::state`].
pub mod state {
    /// Ready.
    pub const ACTIVE: u8 = 0;
    /// Terminating, still serving: keeps what it has, gets new connections only when no ready one
    /// is left.
    pub const TERMINATING: u8 = 1;
    /// In quarantine on this node: handshakes with it fail.
    pub const QUARANTINED: u8 = 2;
}

/// Bits of [`Backend::flags`].
pub mod flags {
    /// Runs on this node.
    pub const LOCAL: u16 = 1;
    /// Its address is one of this machine's own: the kernel's answer to who asks for a route to it
    /// is the same as for an address that no route leads to.
    pub const OWN: u16 = 1 << 1;
}

const _: () = assert!(size_of::<Backend>() == 24);

impl Backend {
    /// A free id.
    pub const FREE: Self = Self {
        addr: Addr::ZERO,
        port: 0,
        proto: 0,
        state: 0,
        weight: 0,
        flags: 0,
    };
}
