//! Room for what does not fit on a program's stack (512 bytes). Owns the one element a CPU of `lb_scratch`.
//!
//! Programs of the packet path run with bottom halves off and one after the other on a CPU, so nobody else writes it.

use lb_common::flow::{Flow, FlowKey};

use crate::{
    flow::snat_port::Claim, maps::SCRATCH, packet::Packet, reply::header::Draft, route::Fib,
};

/// What a decision reads and leaves behind.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Scratch {
    /// The packet's own tuple.
    pub key: FlowKey,
    /// The tuple of packets the other way.
    pub twin_key: FlowKey,
    /// What the packet becomes.
    pub flow: Flow,
    /// The record for packets the other way, when one is made.
    pub twin: Flow,
    /// Its way out.
    pub fib: Fib,
    /// The ports being tried for it.
    pub claim: Claim,
    /// What is answered to it.
    pub draft: Draft,
}

/// The element: the packet, and the rest.
#[repr(C)]
pub struct Room {
    packet: Packet,
    rest: Scratch,
}

/// This CPU's room, with the packet put in it: what lies there costs no stack while helpers are called.
#[inline(always)]
pub fn hold(packet: Packet) -> Option<(&'static Packet, &'static mut Scratch)> {
    let p = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: an element of a per-CPU array, which lives while the program runs and which no other program on this CPU
    // uses meanwhile (see above); the packet is written before it is looked at, and any bits are valid in the rest.
    unsafe {
        (&raw mut (*p).packet).write(packet);
        Some((&(*p).packet, &mut (*p).rest))
    }
}
