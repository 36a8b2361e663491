//! The services that are measured: which addresses number `i` has, what services differ in
//! ([`Class`]), and their objects as manifests and as JSON.

mod class;
mod objects;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

pub(crate) use self::{
    class::{Class, MANY},
    objects::{endpoints_json, json, service_json, slice_json, udp_slice, yaml},
};
use crate::server;

/// The port of every VIP.
const PORT: u16 = 80;
/// 10.96.1.0, and up.
const FIRST_VIP: u32 = 0x0a60_0100;
/// 10.200.0.0, and up: 10.200.0.0/14 is behind the server's namespace.
const FIRST_BACKEND: u32 = 0x0ac8_0000;
/// fd66:96::1:0, and up, within the API server's range.
const FIRST_VIP_V6: u128 = 0xfd66_0096 << 96 | 0x100;
/// fd66:200::, and up.
const FIRST_BACKEND_V6: u128 = 0xfd66_0200 << 96;
/// Backend addresses that each service may use.
const STRIDE: u32 = 4;

/// All VIPs.
pub(crate) const VIPS: &str = "10.96.0.0/12";
/// All backends.
pub(crate) const BACKENDS: &str = "10.200.0.0/14";
/// The same of IPv6.
pub(crate) const VIPS_V6: &str = "fd66:96::/112";
/// The same of IPv6.
pub(crate) const BACKENDS_V6: &str = "fd66:200::/64";

/// Where clients connect to.
pub(crate) fn vip(i: u32) -> SocketAddr {
    (Ipv4Addr::from_bits(FIRST_VIP + i), PORT).into()
}

/// Two, three or four, and no two services have one in common.
pub(crate) fn backends(i: u32) -> Vec<SocketAddr> {
    (0..2 + i % 3).map(|k| backend(i * STRIDE + k)).collect()
}

/// Any of the server's addresses.
pub(crate) fn backend(number: u32) -> SocketAddr {
    let address = Ipv4Addr::from_bits(FIRST_BACKEND + number);
    (address, server::PORT).into()
}

/// [`vip`] of IPv6.
pub(crate) fn vip_v6(i: u32) -> SocketAddr {
    let address = Ipv6Addr::from_bits(FIRST_VIP_V6 + u128::from(i));
    (address, PORT).into()
}

/// [`backends`] of IPv6.
pub(crate) fn backends_v6(i: u32) -> Vec<SocketAddr> {
    (0..2 + i % 3)
        .map(|k| {
            let address = Ipv6Addr::from_bits(FIRST_BACKEND_V6 + u128::from(i * STRIDE + k));
            (address, server::PORT).into()
        })
        .collect()
}

/// The numbers below `count` in an order that is always the same and follows nothing.
pub(crate) fn shuffled(count: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count).collect();
    // A multiplicative hash is enough to lose every neighbourhood.
    numbers.sort_by_key(|n| (n.wrapping_add(1).wrapping_mul(0x9e37_79b1), *n));
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_services_share_an_address() {
        assert_eq!(vip(256).to_string(), "10.96.2.0:80");
        assert_eq!(backends(1).len(), 3);
        let mut all: Vec<_> = (0..100).flat_map(backends).collect();
        all.extend(Class::Many("lc").backends(0));
        all.extend(Class::Many("lc").backends(1));
        let before = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), before);
        let mut order = shuffled(100);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..100));
    }
}
