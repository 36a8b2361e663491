//! The shared body of the packet path: from a packet and the maps to what becomes of it. Writes no
//! byte of a packet.

mod established;
pub mod icmp_error;
mod open;

use core::ffi::c_void;

use lb_common::{Reason, flow::direction, frontend::scope};

use crate::{
    flow::{self, snat_peer},
    lookup::{self, Frontend},
    packet::Packet,
    route::Route,
    scratch::Scratch,
};
use established::{established, reply_in};
use open::new;

/// What becomes of a packet. Where it is rewritten, `Scratch::flow` says to what; where it is sent,
/// `Scratch::fib` says how.
#[derive(Clone, Copy)]
#[must_use]
pub enum Action {
    /// Not ours.
    Pass,
    /// Dropped, for this reason.
    Drop(Reason),
    /// Refused as a port without a listener is: the pool of this index has no endpoint.
    Refuse(u32),
    /// Refused likewise: the VIP has no such port.
    RefusePort,
    /// Rewritten, then up the stack, which knows the way.
    Deliver,
    /// Rewritten with a hop less to live, and sent; `neighbour` when its link-layer address is
    /// known.
    Send { neighbour: bool },
    /// The reply of a local backend, rewritten on its way out; it leaves by the device in
    /// `Scratch::flow`.
    Reply,
    /// Rewritten, then up the stack as if it came in on this device, which is `lb0`.
    DeliverVia(u32),
    /// Ours, but its time to live ends here.
    Expired,
    /// Ours, but larger than the way on carries.
    TooBig,
}

/// Where our programs meet packets of clients.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A node device: clients elsewhere.
    NodeDevice,
    /// `lb0`: clients on this node.
    Lb0,
}

/// Which way a packet goes, as seen from the device of its side. The egress of the other end of
/// `lb0` is its way in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

/// A packet that comes in on a node device, `whole` bytes long from the network header on (as it
/// will be sent).
#[inline(always)]
pub fn ingress(ctx: *mut c_void, p: &Packet, s: &mut Scratch, whole: u16) -> Action {
    s.key = p.key();
    let mut found = flow::find(&s.key);
    let mut frontend = None;
    if found.is_none() {
        match lookup::frontend(&p.dst, p.dport, p.proto, scope::EXTERNAL) {
            Frontend::None => {
                return if snat_peer::is_stray_reply(p, s) {
                    match flow::find_established(&s.key) {
                        Some(moved) => reply_in(ctx, p, s, &moved, whole),
                        None => Action::Drop(Reason::PktNoFlow),
                    }
                } else {
                    Action::Pass
                };
            }
            Frontend::UnknownPort => return Action::RefusePort,
            Frontend::Service(value) => frontend = Some(value),
        }
        found = flow::find_established(&s.key);
    }
    if let Some(found) = found {
        found.copy_to(&mut s.flow);
        if s.flow.direction == direction::REPLY {
            return reply_in(ctx, p, s, &found, whole);
        }
        if s.flow.direction == direction::NETFILTER {
            if !p.is_syn() {
                found.client_sent(flow::bits(p), flow::now());
                return Action::Pass;
            }
            // The client opens another connection from the same port, and that one is ours.
            found.table.remove(&s.key);
        } else if !flow::is_lb0(&s.flow)
            && let Some(action) = established(ctx, p, s, &found, whole, Side::NodeDevice)
        {
            return action;
        }
    }
    let frontend = match frontend {
        Some(frontend) => frontend,
        None => match lookup::frontend(&p.dst, p.dport, p.proto, scope::EXTERNAL) {
            Frontend::None => return Action::Pass,
            Frontend::UnknownPort => return Action::RefusePort,
            Frontend::Service(frontend) => frontend,
        },
    };
    new(ctx, p, s, &frontend, whole, Side::NodeDevice)
}

/// A packet that leaves by a node device: is it the reply of a backend on this node?
#[inline(always)]
pub fn egress(p: &Packet, s: &mut Scratch) -> Action {
    s.key = p.key();
    let Some(found) = flow::read(&s.key, &mut s.flow) else {
        return Action::Pass;
    };
    if s.flow.direction != direction::REPLY || !flow::is_local(&s.flow) {
        return Action::Pass;
    }
    found.server_sent(flow::bits(p), flow::now());
    Action::Reply
}

/// A packet for a VIP that leaves by `lb0`: of a client on this node whose socket was not
/// translated.
#[inline(always)]
pub fn lb0_out(ctx: *mut c_void, p: &Packet, s: &mut Scratch, whole: u16) -> Action {
    s.key = p.key();
    let mut found = flow::find(&s.key);
    if found.is_none() {
        found = flow::find_established(&s.key);
    }
    if let Some(found) = found {
        found.copy_to(&mut s.flow);
        if s.flow.direction == direction::FORWARD
            && flow::is_lb0(&s.flow)
            && let Some(action) = established(ctx, p, s, &found, whole, Side::Lb0)
        {
            return action;
        }
    }
    match lookup::frontend(&p.dst, p.dport, p.proto, scope::INTERNAL) {
        Frontend::Service(frontend) => new(ctx, p, s, &frontend, whole, Side::Lb0),
        Frontend::UnknownPort | Frontend::None => match lookup::vip(&p.dst) {
            Some(_) => Action::RefusePort,
            None => Action::Drop(Reason::PktUnallocated),
        },
    }
}

/// A packet that comes in on `lb0`: the reply of a backend on this node, or a stray.
#[inline(always)]
pub fn lb0_in(p: &Packet, s: &mut Scratch) -> Action {
    s.key = p.key();
    let mut found = flow::find(&s.key);
    if found.is_none() {
        found = flow::find_established(&s.key);
    }
    let Some(found) = found.and_then(|found| found.current(&s.key, &mut s.flow)) else {
        return Action::Drop(Reason::PktNoFlow);
    };
    if s.flow.direction != direction::REPLY || !flow::is_local(&s.flow) || !flow::is_lb0(&s.flow) {
        return Action::Drop(Reason::PktNoFlow);
    }
    found.server_sent(flow::bits(p), flow::now());
    Action::Reply
}

/// The action for a packet whose way was looked up.
#[inline(always)]
fn send(way: Route) -> Action {
    match way {
        Route::Found { neighbour } => Action::Send { neighbour },
        Route::TooBig => Action::TooBig,
        // A packet with its source rewritten never enters our own stack.
        Route::Here | Route::None => Action::Drop(Reason::PktNoRoute),
    }
}
