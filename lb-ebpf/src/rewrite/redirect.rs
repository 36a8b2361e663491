//! Sends packets of tc: by a way that was found, by a device, or back into the stack.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_INGRESS, bpf_redir_neigh},
    helpers::{bpf_redirect, bpf_redirect_neigh},
};
use lb_common::{Addr, lb0};

use super::skb;
use crate::{route::AF_INET6, scratch::Fib, verdict::Verdict};

/// Sends the packet by the way found; the kernel makes its link-layer header. Linux 5.10.
#[inline(always)]
pub fn by_route(fib: &Fib) -> Verdict {
    // `struct bpf_redir_neigh`: the family, then the next hop in four words.
    let mut next: [u32; 5] = [u32::from(fib.family), fib.dst[0], 0, 0, 0];
    if fib.family == AF_INET6 {
        next[2] = fib.dst[1];
        next[3] = fib.dst[2];
        next[4] = fib.dst[3];
    }
    const _: () = assert!(size_of::<bpf_redir_neigh>() == 20);
    // SAFETY: a whole `struct bpf_redir_neigh`.
    Verdict::of_redirect(unsafe {
        bpf_redirect_neigh(
            fib.ifindex,
            next.as_mut_ptr().cast::<bpf_redir_neigh>(),
            20,
            0,
        )
    })
}

/// Sends the packet by a device; the kernel finds the neighbour.
#[inline(always)]
pub fn by_device(ifindex: u32) -> Verdict {
    // SAFETY: no next hop is given, so its size is 0.
    Verdict::of_redirect(unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) })
}

/// `LOOPBACK_IFINDEX` of linux/netdevice.h.
pub const LOOPBACK: u32 = 1;

/// Is it an address for which the stack takes packets on its own loopback alone, ::1?
#[inline(always)]
pub fn is_loopback(to: &Addr) -> bool {
    !to.is_v4() && to.is_loopback()
}

/// The device on which the stack takes a packet for this address that comes back over `lb0`.
#[inline(always)]
pub fn home(to: &Addr, lb0: u32) -> u32 {
    if is_loopback(to) { LOOPBACK } else { lb0 }
}

/// Puts a packet with room for an Ethernet header into the stack as if it came in on the device of
/// this index: `lb0`, or the loopback ([`home`]).
#[inline(always)]
pub fn into_lb0(buffer: *mut __sk_buff, ethertype: u16, ifindex: u32) -> Verdict {
    // The stack takes what is for the device's own address.
    let m = if ifindex == LOOPBACK {
        [0; 6]
    } else {
        lb0::MAC
    };
    let header: [u16; 7] = [
        u16::from_ne_bytes([m[0], m[1]]),
        u16::from_ne_bytes([m[2], m[3]]),
        u16::from_ne_bytes([m[4], m[5]]),
        u16::from_ne_bytes([m[0], m[1]]),
        u16::from_ne_bytes([m[2], m[3]]),
        u16::from_ne_bytes([m[4], m[5]]),
        ethertype,
    ];
    // SAFETY: the program's own context; a helper with plain numbers.
    unsafe {
        if skb::store(buffer, 0, &header, 0).is_err() {
            return Verdict::Shot;
        }
        Verdict::of_redirect(bpf_redirect(ifindex, u64::from(BPF_F_INGRESS)))
    }
}
