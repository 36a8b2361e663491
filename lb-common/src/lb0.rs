//! `lb0`, the device of ours that VIPs are routed to, and its other end. Owns their names, their
//! hardware address and the addresses that local backends see in the place of a client's.

use crate::addr::Addr;

/// VIPs are routed here; its traffic control's egress program balances.
pub const DEVICE: &str = "lb0";
/// Its other end: what was translated comes in here, and [`SOURCE_V4`] and [`SOURCE_V6`] are routed
/// here.
pub const PEER: &str = "lb0p";
/// What the devices carry as their alias, so that they are known as ours.
pub const ALIAS: &str = "lb-agent: service addresses";

/// Hardware address of both ends (locally administered): without ARP a frame is sent to the
/// sender's own address, and so is accepted by the other end too.
pub const MAC: [u8; 6] = [0x02, 0x6c, 0x62, 0x30, 0x00, 0x01];

/// The source of packets from `lb0` to a backend on this node. Link-local (RFC 3927), so that no
/// network uses it; assigned to no device, so that the kernel does not drop its packets as
/// martians.
pub const SOURCE_V4: Addr = Addr::v4([169, 254, 108, 98]);
/// The source of ICMP errors about packets to a load-balancer address of which only some ports are
/// routed to [`DEVICE`]. This address is routed to the device and assigned to none, so it passes a
/// strict reverse path filter. The load-balancer address would fail: rules by port do not match an
/// ICMP error. (IPv6 has no such filter.)
pub const ICMP_SOURCE_V4: Addr = Addr::v4([169, 254, 108, 99]);
/// Stands for loopback on the way of node ports of sockets that are bound to loopback themselves: a
/// packet with such a source leaves by no device but [`DEVICE`]. Routed there, and assigned to none.
pub const LOOPBACK_V4: Addr = Addr::v4([169, 254, 108, 100]);
/// The same for IPv6.
pub const LOOPBACK_V6: Addr =
    Addr::v6([0xfd, 0x6c, 0x62, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
/// The same as [`SOURCE_V4`] for IPv6; unique local (RFC 4193), since link-local addresses are not
/// routed.
pub const SOURCE_V6: Addr = Addr::v6([0xfd, 0x6c, 0x62, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
