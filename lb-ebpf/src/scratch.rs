//! Room for what does not fit on a program's stack (512 bytes): the one element a CPU of
//! `lb_scratch`.
//!
//! Programs of the packet path run with bottom halves off and one after the other on a CPU, so no
//! other program writes it meanwhile, but for those that run within another: at the egress of a copy
//! that `reset.rs` sends, which reads nothing of this room afterwards.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use lb_common::{
    flow::{Flow, FlowKey},
    least::Search,
    maps,
    spill::Area,
};

use crate::packet::{
    Packet,
    inner::{self, Quote},
};

// Here and not in maps.rs, for no other room reads or writes the element.
#[btf_map(name = "lb_scratch")]
static SCRATCH: PerCpuArray<Room, { maps::SCRATCH.capacity as usize }> = PerCpuArray::new();

/// What a decision reads and leaves behind.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Scratch {
    /// The packet's own tuple.
    pub key: FlowKey,
    /// The tuple of packets the other way.
    pub reverse_key: FlowKey,
    /// What the packet becomes.
    pub flow: Flow,
    /// The entry for packets the other way, when one is made.
    pub reverse: Flow,
    /// Its way out.
    pub fib: Fib,
    /// The ports being tried for it.
    pub search: PortSearch,
    /// The answer to it.
    pub draft: Draft,
    /// Of an ICMP error: what it quotes.
    pub quote: Quote,
    /// Of an ICMP error: a network header that is being read.
    pub header: inner::Words,
}

/// `struct bpf_fib_lookup` of linux/bpf.h: the question, and over it the answer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Fib {
    /// Asked: of the packet. Answered: of the next hop.
    pub family: u8,
    pub l4_protocol: u8,
    pub sport: u16,
    pub dport: u16,
    /// Asked: the packet's length, or 0. Answered: the largest that the way carries.
    pub tot_len: u16,
    /// Asked: where the packet came in. Answered: where it leaves.
    pub ifindex: u32,
    pub tos: u32,
    /// Network order; IPv4 in the first word. Answered: the preferred source, if asked for.
    pub src: [u32; 4],
    /// Network order; IPv4 in the first word. Answered: the next hop.
    pub dst: [u32; 4],
    pub vlan: u32,
    pub smac: [u8; 6],
    pub dmac: [u8; 6],
}

const _: () = assert!(size_of::<Fib>() == 64);

/// The search for a source port, beside `Scratch::reverse`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PortSearch {
    /// `CLOCK_MONOTONIC`.
    pub now: u64,
    /// Of the flow: where in the ranges the search begins, and its step.
    pub hash: u32,
    /// From this try on ports count as short.
    pub short_from: u32,
    /// 1: the client's own port is tried first.
    pub own_port: u32,
    /// 1: the packet opens a connection (see `Packet::is_syn`).
    pub opens: u32,
    /// See `flow::snat_port`.
    pub state: u32,
}

/// Bytes of the longest quote in an ICMP error: an IPv6 header and a TCP header without options.
pub const QUOTE: usize = 60;
/// Words of the longest pair of headers: of IPv6 and TCP.
pub const HEADERS: usize = 15;

/// Room for what an answer quotes, and for what stands before it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Draft {
    pub quote: [u32; QUOTE / 4],
    /// Network header and transport header.
    pub head: [u32; HEADERS],
}

/// What looks at the backends of a pool have found.
#[repr(C)]
union Looks {
    least: Search,
    spill: Tally,
}

/// Looks at backends that topology hints prefer, and at others; see `lookup::spill`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tally {
    /// Open connections of the preferred ones, as far as they are counted.
    pub here: u64,
    /// Of the others.
    pub there: u64,
    /// First slot of the preferred backends; behind them are the others'.
    pub base: u32,
    pub pool: u32,
    /// Where the looks begin, so that backends that are alike take turns.
    pub random: u32,
    /// The offset of the first other one.
    pub first: u32,
    pub area: Area,
    /// The other one with the fewest connections, and how many.
    pub least: u16,
    pub fewest: u32,
}

/// The element: the packet, the rest, and what is found out about backends.
#[repr(C)]
struct Room {
    packet: Packet,
    rest: Scratch,
    looks: Looks,
}

/// This CPU's room, with the packet put in it: what lies there costs no stack while helpers are
/// called.
#[inline(always)]
pub fn hold(packet: Packet) -> Option<(&'static Packet, &'static mut Scratch)> {
    let p = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: an element of a per-CPU array, which lives while the program runs and which no other
    // program on this CPU uses meanwhile (see above); the packet is written before it is looked at,
    // and any bits are valid in the rest.
    unsafe {
        (&raw mut (*p).packet).write(packet);
        Some((&(*p).packet, &mut (*p).rest))
    }
}

/// This CPU's room for a search. Programs of sockets use it too, and packets may interrupt them:
/// then a backend is chosen that has not the least load.
#[inline(always)]
pub fn search() -> Option<*mut Search> {
    let p = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: an element of a per-CPU array, which lives while the program runs.
    Some(unsafe { &raw mut (*p).looks.least })
}

/// This CPU's room for a tally, where that of a search is: one is over before the other begins.
/// Programs of sockets use it too, and packets may interrupt them: then a connection leaves, or
/// stays, that should not.
#[inline(always)]
pub fn tally() -> Option<*mut Tally> {
    let p = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: an element of a per-CPU array, which lives while the program runs.
    Some(unsafe { &raw mut (*p).looks.spill })
}

/// The place of the packet in this CPU's room, to be written whole.
#[inline(always)]
pub fn room() -> Option<&'static mut Packet> {
    let p = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as in `hold`; what lies there is the packet before, or zeroes.
    unsafe { Some(&mut (*p).packet) }
}

/// This CPU's room as it was left by [`hold`], in another function of the same program.
#[inline(always)]
pub fn held() -> Option<(&'static Packet, &'static mut Scratch)> {
    let p = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as in `hold`, which has written the packet.
    unsafe { Some((&(*p).packet, &mut (*p).rest)) }
}
