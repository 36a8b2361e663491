//! The shared body of the packet path: from a packet and the maps to what becomes of it. Writes no
//! byte of a packet.

mod direct;
mod established;
pub mod icmp_error;
mod open;

use core::ffi::c_void;

use aya_ebpf::bindings::__sk_buff;
use lb_common::{
    Reason,
    flow::direction,
    frontend::{FrontendValue, scope},
};

use crate::{
    count::count,
    flow::{self, snat_peer},
    lookup::{self, Frontend},
    packet::Packet,
    route::Route,
    scratch::Scratch,
};
use established::{answer, established, reply_in};

/// What becomes of a packet. Where it is rewritten, `Scratch::flow` says to what; where it is sent,
/// `Scratch::fib` says how.
#[derive(Clone, Copy)]
#[must_use]
pub enum Action {
    /// Not ours.
    Pass,
    /// Dropped; counted already.
    Drop,
    /// Refused as a port without a listener is: the pool of this index has no endpoint.
    Refuse(u32),
    /// Refused likewise: each backend of this pool has as many connections as it may.
    RefuseFull(u32),
    /// Refused likewise: the VIP has no such port.
    RefusePort,
    /// Rewritten, then up the stack, which knows the way.
    Deliver,
    /// Rewritten with a hop less to live, and sent; `neighbour` when its link-layer address is
    /// known. Without it, the packet may also be larger than the way carries, and routers may
    /// fragment it ([`Route::is_narrow`]): the stack does.
    Send { neighbour: bool },
    /// The reply of a local backend, rewritten on its way out; it leaves by the device in
    /// `Scratch::flow`.
    Reply,
    /// Rewritten, then up the stack as if it came in on the device in `Scratch::flow`, which is `lb0`.
    DeliverVia,
    /// Ours, but its time to live ends here.
    Expired,
    /// Ours, but larger than the way on carries.
    TooBig,
    /// Both sides of its connection are reset: the client, which sent it, and the backend, by this
    /// way.
    Reset(Onward),
    /// No client on this side can have its source: dropped, by tc. XDP may have the device wrong: a
    /// card that takes VLAN tags off shows it frames of every VLAN alike.
    Martian,
    /// Not decided yet: it opens a flow of this frontend. Programs never see it.
    Open(FrontendValue),
}

/// How the reset of a connection reaches the backend.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Onward {
    /// Not at all: no way is known.
    None,
    /// Up the stack.
    Deliver,
    /// By the way in `Scratch::fib`, whose neighbour the kernel finds.
    Send,
    /// By that way, its neighbour known.
    SendKnown,
}

impl Action {
    /// Both sides are reset, the backend by the way on which the packet would have gone.
    #[inline(always)]
    fn reset(instead_of: Self) -> Self {
        Self::Reset(match instead_of {
            Self::Deliver => Onward::Deliver,
            Self::Send { neighbour: false } => Onward::Send,
            Self::Send { neighbour: true } => Onward::SendKnown,
            _ => Onward::None,
        })
    }

    /// Dropped, and counted under this reason.
    #[inline(always)]
    fn dropped(reason: Reason) -> Self {
        count(reason);
        Self::Drop
    }

    /// As one register, which is all that a function of the kernel's own returns.
    #[inline(always)]
    pub fn pack(self) -> u64 {
        let (kind, value): (u64, u32) = match self {
            Self::Pass => (0, 0),
            Self::Drop => (1, 0),
            Self::Refuse(pool) => (2, pool),
            Self::RefuseFull(pool) => (12, pool),
            Self::RefusePort => (3, 0),
            Self::Deliver => (4, 0),
            Self::Send { neighbour } => (5, u32::from(neighbour)),
            Self::Reply => (6, 0),
            Self::DeliverVia => (7, 0),
            Self::Expired => (8, 0),
            Self::TooBig => (9, 0),
            Self::Reset(onward) => (11, onward as u32),
            Self::Martian => (13, 0),
            Self::Open(frontend) => (10 | u64::from(frontend.flags) << 8, frontend.pool),
        };
        u64::from(value) << 32 | kind
    }

    /// From the register.
    #[inline(always)]
    pub fn unpack(packed: u64) -> Self {
        let value = (packed >> 32) as u32;
        match packed as u8 {
            0 => Self::Pass,
            2 => Self::Refuse(value),
            12 => Self::RefuseFull(value),
            3 => Self::RefusePort,
            4 => Self::Deliver,
            5 => Self::Send {
                neighbour: value != 0,
            },
            6 => Self::Reply,
            7 => Self::DeliverVia,
            8 => Self::Expired,
            9 => Self::TooBig,
            13 => Self::Martian,
            11 => Self::Reset(match value {
                1 => Onward::Deliver,
                2 => Onward::Send,
                3 => Onward::SendKnown,
                _ => Onward::None,
            }),
            10 => Self::Open(FrontendValue {
                pool: value,
                flags: packed as u32 >> 8,
            }),
            _ => Self::Drop,
        }
    }
}

/// Where our programs meet packets of clients.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
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
    match Action::unpack(ingress_by_call(ctx, p, s, whole)) {
        Action::Pass => direct::passes_in(p, s),
        action => open::go_on(ctx, p, s, action, whole, Side::NodeDevice),
    }
}

/// A function of the kernel's own (not inlined), so that what decides and what carries out have a
/// stack each.
#[inline(never)]
fn ingress_by_call(ctx: *mut c_void, p: &Packet, s: &mut Scratch, whole: u16) -> u64 {
    came_in(ctx, p, s, whole).pack()
}

#[inline(always)]
fn came_in(ctx: *mut c_void, p: &Packet, s: &mut Scratch, whole: u16) -> Action {
    s.key = p.key();
    let mut found = flow::find(&s.key);
    let mut frontend = None;
    if found.is_none() {
        match lookup::frontend_by_call(&p.dst, p.dport, p.proto, scope::EXTERNAL) {
            Frontend::None => {
                if !snat_peer::is_stray_reply(p, s) {
                    return Action::Pass;
                }
                return match flow::find_established(&s.key) {
                    Some(moved) => match reply_in(ctx, p, s, &moved, whole) {
                        Some(action) => action,
                        None => Action::dropped(Reason::PktNoFlow),
                    },
                    None => Action::dropped(Reason::PktNoFlow),
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
            if let Some(action) = reply_in(ctx, p, s, &found, whole) {
                return action;
            }
        } else if s.flow.direction == direction::NETFILTER {
            if !p.is_syn() {
                found.client_sent(p, flow::now());
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
        None => match lookup::frontend_by_call(&p.dst, p.dport, p.proto, scope::EXTERNAL) {
            Frontend::None => {
                return if snat_peer::is_stray_reply(p, s) {
                    Action::dropped(Reason::PktNoFlow)
                } else {
                    Action::Pass
                };
            }
            Frontend::UnknownPort => return Action::RefusePort,
            Frontend::Service(frontend) => frontend,
        },
    };
    Action::Open(frontend)
}

/// A packet that leaves by a node device: is it the reply of a backend on this node?
#[inline(always)]
pub fn egress(p: &Packet, s: &mut Scratch) -> Action {
    match Action::unpack(egress_by_call(p, s)) {
        Action::Pass => direct::passes_out(p, s),
        action => action,
    }
}

/// As for packets that come in.
#[inline(never)]
fn egress_by_call(p: &Packet, s: &mut Scratch) -> u64 {
    left(p, s).pack()
}

#[inline(always)]
fn left(p: &Packet, s: &mut Scratch) -> Action {
    s.key = p.key();
    let mut found = flow::read(&s.key, &mut s.flow);
    // One that was on its way from map to map.
    if found.is_none() && lookup::may_be_backend(&p.src) {
        found = flow::find_established(&s.key).and_then(|e| e.current(&s.key, &mut s.flow));
    }
    let Some(found) = found else {
        return Action::Pass;
    };
    if s.flow.direction == direction::FORWARD && flow::is_stack(&s.flow) {
        return direct::moved_out(p, s, &found);
    }
    if s.flow.direction == direction::REPLY && flow::is_local(&s.flow) && answer(p, s, &found) {
        return Action::Reply;
    }
    Action::Pass
}

/// A packet for a VIP that leaves by `lb0`: of a client on this node whose socket was not
/// translated.
#[inline(always)]
pub fn lb0_out(ctx: *mut c_void, p: &Packet, s: &mut Scratch, whole: u16) -> Action {
    let action = Action::unpack(lb0_out_by_call(ctx, p, s, whole));
    open::go_on(ctx, p, s, action, whole, Side::Lb0)
}

/// As for packets that come in on a node device.
#[inline(never)]
fn lb0_out_by_call(ctx: *mut c_void, p: &Packet, s: &mut Scratch, whole: u16) -> u64 {
    left_by_lb0(ctx, p, s, whole).pack()
}

#[inline(always)]
fn left_by_lb0(ctx: *mut c_void, p: &Packet, s: &mut Scratch, whole: u16) -> Action {
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
    if lookup::is_own_loopback(&p.dst) {
        // SAFETY: `ctx` is a tc program's, which has a socket buffer; a readable u32 of it.
        let came_in_on = unsafe { (*ctx.cast::<__sk_buff>()).ingress_ifindex };
        if came_in_on != 0 {
            return Action::dropped(Reason::PktUnallocated);
        }
    }
    match lookup::frontend_on_lb0(p) {
        Frontend::Service(frontend) => Action::Open(frontend),
        Frontend::UnknownPort => Action::RefusePort,
        Frontend::None => match lookup::vip(&p.dst) {
            Some(_) => Action::RefusePort,
            None => Action::dropped(Reason::PktUnallocated),
        },
    }
}

/// A packet that comes in on `lb0`: the reply of a backend on this node, or a stray.
#[inline(always)]
pub fn lb0_in(p: &Packet, s: &mut Scratch) -> Action {
    Action::unpack(lb0_in_by_call(p, s))
}

/// As for packets that come in on a node device.
#[inline(never)]
fn lb0_in_by_call(p: &Packet, s: &mut Scratch) -> u64 {
    came_by_lb0(p, s).pack()
}

#[inline(always)]
fn came_by_lb0(p: &Packet, s: &mut Scratch) -> Action {
    s.key = p.key();
    let mut found = flow::find(&s.key);
    if found.is_none() {
        found = flow::find_established(&s.key);
    }
    let Some(found) = found.and_then(|found| found.current(&s.key, &mut s.flow)) else {
        return Action::dropped(Reason::PktNoFlow);
    };
    if s.flow.direction != direction::REPLY
        || !flow::is_local(&s.flow)
        || !flow::is_lb0(&s.flow)
        || !answer(p, s, &found)
    {
        return Action::dropped(Reason::PktNoFlow);
    }
    Action::Reply
}

/// The action for a packet whose way was looked up.
#[inline(always)]
fn send(way: Route) -> Action {
    match way {
        Route::Found { neighbour } => Action::Send { neighbour },
        Route::TooBig => Action::TooBig,
        // The way says so itself: another action would cost every packet, as the kernel's verifier
        // sees it.
        Route::Narrow => Action::Send { neighbour: false },
        // A packet with its source rewritten never enters our own stack.
        Route::Here | Route::None => Action::dropped(Reason::PktNoRoute),
    }
}
