//! What XDP must know of a device for every frame. Owns the layout of `lb_xdp_devs`, an array, since
//! a hash look-up a frame costs more than all the rest of it.

use crate::maps;

/// Element of `lb_xdp_devs`, at [`index`] of an interface index.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct XdpDev {
    /// Whose element it is; 0: nobody's. Another device at the same place has none.
    pub ifindex: u32,
    /// See [`flags`].
    pub flags: u32,
    /// Its hardware address. Frames for another one are for another host, or for a device that
    /// stands on this one.
    pub mac: [u8; 6],
    /// Reserved, zero.
    pub pad: u16,
}

/// Bits of [`XdpDev::flags`].
pub mod flags {
    /// XDP may send out here: XDP is attached to it too, no encapsulation stands between, and what
    /// it sends arrives.
    pub const SEND: u32 = 1;
    /// Also frames that do not lie in one piece.
    pub const SEND_FRAGMENTED: u32 = 1 << 1;
}

/// The element of an interface index.
#[inline(always)]
#[must_use]
pub const fn index(ifindex: u32) -> u32 {
    ifindex & (maps::XDP_DEVS.capacity - 1)
}

impl XdpDev {
    /// No device's.
    pub const FREE: Self = Self {
        ifindex: 0,
        flags: 0,
        mac: [0; 6],
        pad: 0,
    };
}

const _: () = {
    assert!(size_of::<XdpDev>() == 16);
    assert!(maps::XDP_DEVS.capacity.is_power_of_two());
};
