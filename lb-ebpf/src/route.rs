//! By which device and to which neighbour a packet leaves. Owns the call of `bpf_fib_lookup`; writes no packet.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_INGRESS, BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH,
        BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_OUTPUT,
        BPF_FIB_LOOKUP_SRC, TC_ACT_SHOT, bpf_redir_neigh,
    },
    helpers::{bpf_fib_lookup, bpf_redirect, bpf_redirect_neigh},
};
use lb_common::{
    Addr,
    dev::{self, Dev},
    lb0,
};

use crate::{
    config,
    maps::DEVS,
    packet::{ETH_P_IP, ETH_P_IPV6, Packet},
    rewrite::skb,
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// `struct bpf_fib_lookup` of linux/bpf.h: what is asked, and over it what is answered.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Fib {
    /// Asked: of the packet. Answered: of the next hop.
    pub family: u8,
    l4_protocol: u8,
    sport: u16,
    dport: u16,
    /// Asked: the packet's length, or 0. Answered: the largest that the way carries.
    pub tot_len: u16,
    /// Asked: where the packet came in. Answered: where it leaves.
    pub ifindex: u32,
    tos: u32,
    /// Network order; IPv4 in the first word. Answered: the preferred source, if asked for.
    pub src: [u32; 4],
    /// Network order; IPv4 in the first word. Answered: the next hop.
    pub dst: [u32; 4],
    vlan: u32,
    pub smac: [u8; 6],
    pub dmac: [u8; 6],
}

const _: () = assert!(size_of::<Fib>() == 64);

/// What the routing table says of a destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// There is a way; `neighbour` when both link-layer addresses are known.
    Found { neighbour: bool },
    /// An address of this node.
    Here,
    /// Larger than the way carries.
    TooBig,
    /// No way.
    None,
}

/// What a way is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// A packet that is passed on; also which address the node has on that way.
    Forward,
    /// A packet that is passed on as it is.
    Reply,
    /// A packet that must leave by this device.
    Device(u32),
}

/// Asks for the way of a packet with these ends, `len` bytes long (0: not compared with what the way carries).
#[inline(always)]
pub fn find(
    ctx: *mut c_void,
    fib: &mut Fib,
    packet: &Packet,
    (src, dst): (&Addr, &Addr),
    len: u16,
    what: For,
) -> Route {
    let (s, d) = (src.words(), dst.words());
    // The source is what is asked for.
    let any = what == For::Forward;
    fib.l4_protocol = packet.proto;
    fib.sport = 0;
    fib.dport = 0;
    fib.tot_len = len;
    fib.ifindex = match what {
        For::Device(ifindex) => ifindex,
        _ => packet.ifindex,
    };
    fib.tos = 0;
    fib.vlan = 0;
    if packet.v4 {
        fib.family = AF_INET;
        fib.src = [if any { 0 } else { s[3] }, 0, 0, 0];
        fib.dst = [d[3], 0, 0, 0];
    } else {
        fib.family = AF_INET6;
        fib.src = if any { [0; 4] } else { s };
        fib.dst = d;
    }
    let flags = match what {
        For::Forward if config::fib_src() != 0 => BPF_FIB_LOOKUP_SRC,
        For::Device(_) => BPF_FIB_LOOKUP_OUTPUT,
        _ => 0,
    };
    // SAFETY: `ctx` is the program's context, `fib` a whole `struct bpf_fib_lookup`.
    let rc = unsafe { bpf_fib_lookup(ctx, core::ptr::from_mut(fib).cast(), 64, flags) };
    match rc as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => Route::Found { neighbour: true },
        BPF_FIB_LKUP_RET_NO_NEIGH => Route::Found { neighbour: false },
        BPF_FIB_LKUP_RET_NOT_FWDED => Route::Here,
        BPF_FIB_LKUP_RET_FRAG_NEEDED => Route::TooBig,
        _ => Route::None,
    }
}

/// The address that a packet leaving by the way just found gets as its source; `None` if the node has none there.
#[inline(always)]
pub fn source(fib: &Fib, is_v4: bool) -> Option<Addr> {
    if config::fib_src() != 0 {
        let s = fib.src;
        if s[0] | s[1] | s[2] | s[3] != 0 {
            return Some(if is_v4 {
                crate::packet::v4(s[0])
            } else {
                Addr::from_words(s)
            });
        }
    }
    let dev = device(fib.ifindex)?;
    let addr = if is_v4 { dev.source_v4 } else { dev.source_v6 };
    let w = addr.words();
    if w[3] == 0 && (is_v4 || w[0] | w[1] | w[2] == 0) {
        return None;
    }
    Some(addr)
}

/// What the agent told of a device.
#[inline(always)]
pub fn device(ifindex: u32) -> Option<&'static Dev> {
    // SAFETY: written by the agent alone, read field by field; a device that goes takes its packets with it.
    unsafe { DEVS.get(&ifindex) }
}

/// Do our programs stand on the device?
#[inline(always)]
pub fn is_node_device(ifindex: u32) -> bool {
    device(ifindex).is_some_and(|dev| dev.flags & dev::flags::NODE != 0)
}

/// The verdict that sends a packet of tc by the way found, its link-layer header made by the kernel. Linux 5.10.
#[inline(always)]
pub fn send(fib: &Fib) -> i32 {
    // `struct bpf_redir_neigh`: the family, then the next hop in four words.
    let mut next: [u32; 5] = [u32::from(fib.family), fib.dst[0], 0, 0, 0];
    if fib.family == AF_INET6 {
        next[2] = fib.dst[1];
        next[3] = fib.dst[2];
        next[4] = fib.dst[3];
    }
    const _: () = assert!(size_of::<bpf_redir_neigh>() == 20);
    // SAFETY: a whole `struct bpf_redir_neigh`.
    unsafe {
        bpf_redirect_neigh(
            fib.ifindex,
            next.as_mut_ptr().cast::<bpf_redir_neigh>(),
            20,
            0,
        ) as i32
    }
}

/// The verdict that sends a packet of tc by a device, to whom the kernel finds out.
#[inline(always)]
pub fn send_by(ifindex: u32) -> i32 {
    // SAFETY: no next hop is given, so its size is 0.
    unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as i32 }
}

/// The verdict that hands a packet with room for an Ethernet header to the stack as if it came in on `lb0`, the device of
/// this index.
#[inline(always)]
pub fn hand(buffer: *mut __sk_buff, is_v4: bool, ifindex: u32) -> i32 {
    let m = lb0::MAC;
    let protocol = if is_v4 { ETH_P_IP } else { ETH_P_IPV6 }.to_ne_bytes();
    let header: [u16; 7] = [
        u16::from_ne_bytes([m[0], m[1]]),
        u16::from_ne_bytes([m[2], m[3]]),
        u16::from_ne_bytes([m[4], m[5]]),
        u16::from_ne_bytes([m[0], m[1]]),
        u16::from_ne_bytes([m[2], m[3]]),
        u16::from_ne_bytes([m[4], m[5]]),
        u16::from_ne_bytes(protocol),
    ];
    // SAFETY: the program's own context; a helper with plain numbers.
    unsafe {
        if skb::store(buffer, 0, &header, 0).is_err() {
            return TC_ACT_SHOT;
        }
        bpf_redirect(ifindex, u64::from(BPF_F_INGRESS)) as i32
    }
}
