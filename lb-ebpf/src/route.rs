//! By which device and to which neighbour a packet leaves: the one caller of `bpf_fib_lookup`.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_BLACKHOLE, BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH,
        BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_PROHIBIT, BPF_FIB_LKUP_RET_SUCCESS,
        BPF_FIB_LKUP_RET_UNREACHABLE, BPF_FIB_LOOKUP_OUTPUT, BPF_FIB_LOOKUP_SRC,
    },
    helpers::bpf_fib_lookup,
};
use lb_common::{
    Addr,
    dev::{self, Dev},
};

use crate::{
    config,
    maps::DEVS,
    packet::{self, Packet},
    scratch::Fib,
};

const AF_INET: u8 = 2;
pub const AF_INET6: u8 = 10;

/// What the routing table says of a destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// There is a way; `neighbour` when both link-layer addresses are known.
    Found { neighbour: bool },
    /// An address of this node.
    Here,
    /// Larger than the way carries.
    TooBig,
    /// The same, but routers may fragment it.
    Narrow,
    /// No way.
    None,
}

/// In `Fib::vlan`, where the kernel has no such number: what was found is [`Route::Narrow`].
const NARROW: u32 = u32::MAX;

impl Route {
    /// Was the way that was found last one of [`Route::Narrow`]?
    #[inline(always)]
    pub fn is_narrow(fib: &Fib) -> bool {
        fib.vlan == NARROW
    }
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

/// Asks for the way of a packet with these ends, `len` bytes long (0: not compared with what the
/// way carries).
#[inline(always)]
pub fn find(
    ctx: *mut c_void,
    fib: &mut Fib,
    p: &Packet,
    (src, dst): (&Addr, &Addr),
    len: u16,
    what: For,
) -> Route {
    // The source is what is asked for.
    let src = if what == For::Forward {
        [0; 4]
    } else {
        src.words()
    };
    let ifindex = match what {
        For::Device(ifindex) => ifindex,
        _ => p.ifindex,
    };
    question(fib, p, (src, dst.words()), len, ifindex);
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
        BPF_FIB_LKUP_RET_FRAG_NEEDED
            if len != 0 && p.may_be_fragmented() && is_found(ctx, fib, flags) =>
        {
            fib.vlan = NARROW;
            Route::Narrow
        }
        BPF_FIB_LKUP_RET_FRAG_NEEDED => Route::TooBig,
        _ => Route::None,
    }
}

/// Fills in what is asked: the way of a packet of `len` bytes with these ends, which comes in on (or
/// must leave by) a device.
#[inline(always)]
fn question(fib: &mut Fib, p: &Packet, (src, dst): ([u32; 4], [u32; 4]), len: u16, ifindex: u32) {
    fib.l4_protocol = p.proto;
    fib.sport = 0;
    fib.dport = 0;
    fib.tot_len = len;
    fib.ifindex = ifindex;
    fib.tos = 0;
    fib.vlan = 0;
    (fib.family, fib.src, fib.dst) = if p.v4 {
        (AF_INET, [src[3], 0, 0, 0], [dst[3], 0, 0, 0])
    } else {
        (AF_INET6, src, dst)
    };
}

/// Asks once more for the way of a packet that is too large for it, of which the first answer says
/// nothing but how much it carries; that stays in `fib`. Not inlined, since it is rare.
#[inline(never)]
fn is_found(ctx: *mut c_void, fib: &mut Fib, flags: u32) -> bool {
    let carries = fib.tot_len;
    fib.tot_len = 0;
    // SAFETY: as in `find`.
    let rc = unsafe { bpf_fib_lookup(ctx, core::ptr::from_mut(fib).cast(), 64, flags) };
    fib.tot_len = carries;
    // The last: larger than the device carries.
    matches!(
        rc as u32,
        BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH | BPF_FIB_LKUP_RET_FRAG_NEEDED
    )
}

/// Is this source of a packet that came in on a device one that the stack would not take from there:
/// an address of this node, or one that no route leads to; or, where the device's reverse path
/// filter is strict (`rp_filter` 1), one that is routed elsewhere? The way back is that of an answer,
/// which comes from the packet's destination: routes may depend on it (`ip rule from`).
#[inline(always)]
pub fn is_martian(ctx: *mut c_void, fib: &mut Fib, p: &Packet) -> bool {
    question(fib, p, (p.dst.words(), p.src.words()), 0, p.ifindex);
    // SAFETY: `ctx` is the program's context, `fib` a whole `struct bpf_fib_lookup`.
    let rc = unsafe { bpf_fib_lookup(ctx, core::ptr::from_mut(fib).cast(), 64, 0) };
    match rc as u32 {
        BPF_FIB_LKUP_RET_BLACKHOLE
        | BPF_FIB_LKUP_RET_UNREACHABLE
        | BPF_FIB_LKUP_RET_PROHIBIT
        | BPF_FIB_LKUP_RET_NOT_FWDED => true,
        // The last: the packet itself is larger than the way back carries, which is of no interest.
        BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH | BPF_FIB_LKUP_RET_FRAG_NEEDED => {
            p.v4 && fib.ifindex != p.ifindex
                && device(p.ifindex).is_some_and(|dev| dev.flags & dev::flags::STRICT != 0)
        }
        _ => false,
    }
}

/// The address that a packet leaving by the way just found gets as its source; `None` if the node
/// has none there.
#[inline(always)]
pub fn source(fib: &Fib, p: &Packet) -> Option<Addr> {
    if config::fib_src() != 0 {
        let s = fib.src;
        if s[0] | s[1] | s[2] | s[3] != 0 {
            return Some(if p.v4 {
                packet::v4(s[0])
            } else {
                Addr::from_words(s)
            });
        }
    }
    let dev = device(fib.ifindex)?;
    let addr = if p.v4 { dev.source_v4 } else { dev.source_v6 };
    let w = addr.words();
    if w[3] == 0 && (p.v4 || w[0] | w[1] | w[2] == 0) {
        return None;
    }
    Some(addr)
}

/// What the agent wrote of a device.
#[inline(always)]
pub fn device(ifindex: u32) -> Option<&'static Dev> {
    // SAFETY: written by the agent alone, read field by field; a device that goes takes its packets
    // with it.
    unsafe { DEVS.get(&ifindex) }
}

/// Are pods of this node behind the device too, though it is a node device?
#[inline(always)]
pub fn has_pods(ifindex: u32) -> bool {
    device(ifindex).is_some_and(|dev| dev.flags & dev::flags::PODS != 0)
}

/// Are our programs attached to the device?
#[inline(always)]
pub fn is_node_device(ifindex: u32) -> bool {
    device(ifindex).is_some_and(|dev| dev.flags & dev::flags::NODE != 0)
}
