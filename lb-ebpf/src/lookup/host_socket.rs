//! Sockets of this node's own processes, in the host's namespace: whom a packet would reach if it
//! were left to the stack.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_F_CURRENT_NETNS, bpf_sock, bpf_sock_tuple},
    helpers::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
};
use lb_common::{Addr, flow::FlowKey};

use crate::packet::{TCP, UDP};

/// `TCP_LISTEN` of linux/bpf.h.
const LISTEN: u32 = 10;

/// Addresses and ports as `struct bpf_sock_tuple` has them, network order.
#[repr(C)]
struct V4 {
    src: u32,
    dst: u32,
    ports: u32,
}

/// The same of IPv6.
#[repr(C)]
struct V6 {
    src: Addr,
    dst: Addr,
    ports: u32,
}

const _: () = assert!(size_of::<V6>() == size_of::<bpf_sock_tuple>());

/// Has a process of this node a connection of its own whose packets come in with this tuple? A
/// socket that listens, or that is bound and not connected, has none.
///
/// A function of the kernel's own: its tuples cost the caller no stack.
#[inline(never)]
pub fn is_connected(ctx: *mut c_void, key: &FlowKey) -> bool {
    let ports = crate::packet::ports(key.sport, key.dport);
    if key.src.is_v4() {
        let tuple = V4 {
            src: key.src.words()[3],
            dst: key.dst.words()[3],
            ports,
        };
        find(ctx, &tuple, key.proto)
    } else {
        let tuple = V6 {
            src: key.src,
            dst: key.dst,
            ports,
        };
        find(ctx, &tuple, key.proto)
    }
}

#[inline(always)]
fn find<T>(ctx: *mut c_void, tuple: &T, proto: u8) -> bool {
    let tuple = core::ptr::from_ref(tuple)
        .cast_mut()
        .cast::<bpf_sock_tuple>();
    let (size, here) = (size_of::<T>() as u32, BPF_F_CURRENT_NETNS as u64);
    // SAFETY: the program's own context and a whole tuple of the family that its size tells; what
    // is found is released.
    unsafe {
        let found: *mut bpf_sock = match proto {
            TCP => bpf_skc_lookup_tcp(ctx, tuple, size, here, 0),
            UDP => bpf_sk_lookup_udp(ctx, tuple, size, here, 0),
            _ => return false,
        };
        if found.is_null() {
            return false;
        }
        let connected = if proto == TCP {
            (*found).state != LISTEN
        } else {
            (*found).dst_port != 0
        };
        bpf_sk_release(found.cast());
        connected
    }
}
