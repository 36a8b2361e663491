//! Packets that no Service has a say in, as far as their tuples matter to flows: connections past
//! us to backends, and those that have a node port's number on our side.
//!
//! Whoever comes second gets another source port, as with netfilter: a flow (see
//! `flow::snat_port`), or the direct connection itself (here).

use lb_common::{
    Reason,
    flow::{FlowKey, NONE, direction, flags},
};

use super::{
    Action, Side,
    established::{self, Place},
};
use crate::{
    count::count,
    flow::{
        self, FlowTable, Standing, foreign,
        snat_port::{self, FirstPort},
    },
    hash, lookup,
    packet::Packet,
    scratch::Scratch,
};

/// A packet that comes in on a node device, and is not for a Service.
#[inline(always)]
pub fn passes_in(p: &Packet, s: &mut Scratch) -> Action {
    if may_open(p) && lookup::may_be_backend(&p.dst) {
        return action(open(p, s, flags::DIRECT | flags::LOCAL));
    }
    Action::Pass
}

/// A packet that leaves by a node device and answers no flow: of this node, or of a pod.
#[inline(always)]
pub fn passes_out(p: &Packet, s: &mut Scratch) -> Action {
    if may_open(p) && lookup::may_be_backend(&p.dst) {
        return action(open(p, s, flags::DIRECT | flags::STACK));
    }
    // What answers it would be taken for a client's.
    if !p.is_rst() && !p.is_syn_ack() && lookup::may_be_node_port(p.sport) {
        learn(s, flow::now());
    }
    Action::Pass
}

/// A packet that leaves by a node device, of a direct connection that this node opened and that got
/// another port.
#[inline(always)]
pub fn moved_out(p: &Packet, s: &mut Scratch, found: &flow::Entry) -> Action {
    match established::place(p, s, found, Side::NodeDevice) {
        Place::Outside => Action::Pass,
        Place::Inside | Place::AtItsEnd => Action::Deliver,
    }
}

/// What became of a direct connection.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Opened {
    /// No flow has its tuple.
    Beside,
    /// It got another port.
    Moved,
    /// It would need one, and there is none.
    NoPort,
}

#[inline(always)]
fn action(opened: Opened) -> Action {
    match opened {
        Opened::Beside => Action::Pass,
        Opened::Moved => Action::Deliver,
        Opened::NoPort => Action::dropped(Reason::PktSnatExhausted),
    }
}

/// Of TCP and SCTP only what opens a connection is looked at.
#[inline(always)]
fn may_open(p: &Packet) -> bool {
    !p.connects() || p.is_syn()
}

/// The first packet of a direct connection, or any datagram: its tuple is learnt. If a flow of ours
/// has it, the connection gets another source port.
///
/// A function of the kernel's own, with a stack of its own; it returns one register.
#[inline(never)]
fn open(p: &Packet, s: &mut Scratch, flow_flags: u8) -> Opened {
    let now = flow::now();
    s.reverse_key = turned(&s.key);
    if foreign::owns_still(&s.reverse_key, now) {
        return Opened::Beside;
    }
    let taken = match flow::read(&s.reverse_key, &mut s.reverse) {
        Some(old) if s.reverse.direction == direction::REPLY => old,
        _ => {
            foreign::learn(&s.reverse_key, now);
            return Opened::Beside;
        }
    };
    if Standing::of(&s.reverse, p.proto).is_over || flow::is_past(&s.reverse, p.proto, now) {
        if taken.table.remove(&s.reverse_key) {
            flow::ended(&s.reverse, p.proto);
        }
        foreign::learn(&s.reverse_key, now);
        let forward = s.reverse.reverse_key(p.proto);
        FlowTable::New.remove(&forward);
        FlowTable::Established.remove(&forward);
        return Opened::Beside;
    }
    // What leaves for a backend of this node is that flow itself, translated: its device is a node
    // device for the sake of other nodes' pods behind it.
    if flow_flags & flags::STACK != 0 && s.reverse.flags & flags::LOCAL != 0 {
        return Opened::Beside;
    }
    s.flow.direction = direction::FORWARD;
    s.flow.flags = flow_flags;
    (s.flow.pool, s.flow.backend) = (NONE, NONE);
    s.flow.ifindex = p.ifindex;
    (s.flow.client, s.flow.server) = (0, 0);
    s.flow.set_verified(now);
    s.flow.src = p.src;
    s.flow.dst = p.dst;
    s.flow.dport = p.dport;
    if !snat_port::claim(p, s, FirstPort::OfRange, hash::of_flow(p), now) {
        return Opened::NoPort;
    }
    snat_port::insert_forward(s);
    count(Reason::PktDirectMoved);
    Opened::Moved
}

#[inline(always)]
fn learn(s: &mut Scratch, now: u64) {
    s.reverse_key = turned(&s.key);
    if !foreign::owns_still(&s.reverse_key, now) {
        foreign::learn(&s.reverse_key, now);
    }
}

/// The tuple of what answers a packet that nobody rewrites.
#[inline(always)]
fn turned(key: &FlowKey) -> FlowKey {
    FlowKey {
        src: key.dst,
        dst: key.src,
        sport: key.dport,
        dport: key.sport,
        proto: key.proto,
        pad: [0; 3],
    }
}
