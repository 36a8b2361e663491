//! What is remembered of a socket whose destination was translated. Owns the layout of `lb_sk` and `lb_udp_peers`,
//! which outlive upgrades: their layout is frozen, growth goes into the reserved fields.

use crate::addr::Addr;

/// Value of `lb_sk` (`sk_storage`): the last translation of this socket.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct SockRecord {
    /// What the application asked for.
    pub vip: Addr,
    /// What it got.
    pub backend: Addr,
    /// Host byte order.
    pub vip_port: u16,
    /// Host byte order.
    pub backend_port: u16,
    /// IANA protocol number.
    pub proto: u8,
    /// See [`kind`].
    pub kind: u8,
    /// 1 while this socket is counted in `lb_active` for `backend_id`.
    pub counted: u8,
    /// Reserved, zero.
    pub pad: u8,
    /// Index into `lb_backends`.
    pub backend_id: u32,
    /// Index into `lb_svc`.
    pub service: u32,
    /// The socket's cookie; 0 in a record that a clone or an older version made.
    pub cookie: u64,
    /// Reserved, zero.
    pub reserved: u64,
}

/// Numbers of [`SockRecord::kind`].
pub mod kind {
    /// Nothing translated: the record is cleared.
    pub const NONE: u8 = 0;
    /// By connect.
    pub const CONNECTED: u8 = 1;
    /// By the last sendmsg of an unconnected UDP socket.
    pub const UNCONNECTED: u8 = 2;
}

impl SockRecord {
    /// Nothing translated.
    pub const CLEARED: Self = Self {
        vip: Addr::ZERO,
        backend: Addr::ZERO,
        vip_port: 0,
        backend_port: 0,
        proto: 0,
        kind: kind::NONE,
        counted: 0,
        pad: 0,
        backend_id: 0,
        service: 0,
        cookie: 0,
        reserved: 0,
    };
}

/// Key of `lb_udp_peers`: an answer from this backend to this socket.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct UdpPeerKey {
    /// Socket cookie.
    pub cookie: u64,
    /// The backend.
    pub addr: Addr,
    /// Host byte order.
    pub port: u16,
    /// Reserved, zero.
    pub pad: [u16; 3],
}

/// Value of `lb_udp_peers`: what recvmsg shows instead.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct UdpPeer {
    /// The VIP that the application sent to.
    pub addr: Addr,
    /// Host byte order.
    pub port: u16,
    /// Reserved, zero.
    pub pad: u16,
    /// Index into `lb_svc`.
    pub service: u32,
    /// Index into `lb_backends`.
    pub backend_id: u32,
    /// Reserved, zero.
    pub reserved: u32,
}

const _: () = {
    assert!(size_of::<SockRecord>() == 64);
    assert!(size_of::<UdpPeerKey>() == 32);
    assert!(size_of::<UdpPeer>() == 32);
};
