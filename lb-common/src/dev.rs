//! What the packet path must know of a network device. Owns the layout of `lb_devs`, kept by the
//! agent from netlink.

use crate::addr::Addr;

/// Value of `lb_devs`, by interface index.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Dev {
    /// The address that packets leaving here get as their source when the route names none; zero
    /// when there is none.
    pub source_v4: Addr,
    /// The same for IPv6.
    pub source_v6: Addr,
    /// See [`flags`].
    pub flags: u32,
    /// Bytes of the link-layer header in front of the network header: 14, or 0 for tunnels and
    /// other raw devices.
    pub header_len: u32,
}

/// Bits of [`Dev::flags`].
pub mod flags {
    /// Packets arriving here come from outside the node (a node device), so our programs stand on
    /// it.
    pub const NODE: u32 = 1 << 1;
    /// The kernel takes from here only what it would send here (`rp_filter` 1, of the device or of
    /// all; RFC 3704).
    pub const STRICT: u32 = 1 << 2;
    /// A node device for the sake of endpoints of other nodes that are routed over it; pods of this
    /// node are behind it too. An endpoint behind it that names this node is here, and what comes
    /// in on it is from inside the cluster.
    pub const PODS: u32 = 1 << 3;
}

const _: () = assert!(size_of::<Dev>() == 40);
