//! The keyed hashes that place packets ([`lb_common::hash`]). Functions of the kernel's own: they are
//! long, and whoever asks for one has no room left on its stack.

use lb_common::{
    Addr,
    hash::{HashKey, Hasher, block, last},
};

use crate::{maps::HASH_KEY, packet::Packet};

/// A number that is the same for each packet of a flow, on every node.
#[inline(never)]
pub fn of_flow(p: &Packet) -> u32 {
    let mut h = start();
    addr(&mut h, &p.src);
    addr(&mut h, &p.dst);
    let ports = u32::from(p.sport) << 16 | u32::from(p.dport);
    absorb(&mut h, block(ports, u32::from(p.proto)));
    end(&mut h, last(10, 0))
}

/// The same for each flow of a client, on every node.
#[inline(never)]
pub fn of_client(client: &Addr) -> u32 {
    let mut h = start();
    addr(&mut h, client);
    end(&mut h, last(4, 0))
}

/// The same for each datagram of a socket to a VIP.
#[inline(never)]
pub fn of_socket(cookie: u64, vip: &Addr, port: u16) -> u32 {
    let mut h = start();
    absorb(&mut h, cookie);
    addr(&mut h, vip);
    end(&mut h, last(7, u32::from(port)))
}

#[inline(always)]
fn start() -> Hasher {
    Hasher::new(match HASH_KEY.get_ptr(0) {
        // SAFETY: an element of an array map, two aligned u64.
        Some(key) => unsafe { *key },
        None => HashKey { k0: 0, k1: 0 },
    })
}

#[inline(always)]
fn addr(h: &mut Hasher, addr: &Addr) {
    let [a, b, c, d] = addr.words();
    absorb(h, block(a, b));
    absorb(h, block(c, d));
}

/// By call, so that the four words of the hash are all that is on the stack.
#[inline(never)]
fn absorb(h: &mut Hasher, block: u64) {
    h.absorb(block);
}

#[inline(never)]
fn end(h: &mut Hasher, last: u64) -> u32 {
    h.absorb(last);
    h.finish() as u32
}
