//! The shared body of the packet path: from a packet and the maps to what becomes of it. Writes no byte of a packet.

use core::ffi::c_void;

use aya_ebpf::btf_maps::lpm_trie::Key;
use lb_common::{
    Reason,
    backend::Backend,
    flow::{flags, kind},
    lb0,
    service::{ServiceRef, flags as service_flags, frontend, member, scope},
    srcrange::SourceRange,
};

pub mod icmp_error;

use crate::{
    count::{self, count},
    flow::snat_port,
    flow::{self, Found},
    lookup::{self, Client, Frontend, Refusal},
    maps::SRCRANGES,
    packet::Packet,
    route::{self, For, Route},
    scratch::Scratch,
};

/// What becomes of a packet. Where it is rewritten, `Scratch::flow` says to what; where it is sent, `Scratch::fib` says how.
#[derive(Clone, Copy)]
#[must_use]
pub enum Action {
    /// Not ours.
    Pass,
    /// Lost, for this reason.
    Drop(Reason),
    /// Refused as a port without a listener is: the service of this index has no endpoint.
    Refuse(u32),
    /// Refused likewise: the VIP has no such port.
    RefusePort,
    /// Rewritten, then up the stack, which knows the way.
    Deliver,
    /// Rewritten with a hop less to live, and sent; `neighbour` when its link-layer address is known.
    Send { neighbour: bool },
    /// Rewritten on its way out; it leaves by the device in `Scratch::flow`.
    Reply,
    /// Rewritten, then handed to the stack as if it came in on the device in `Scratch::flow`: `lb0`.
    Hand,
    /// Ours, but its time to live ends here.
    Expired,
    /// Ours, but larger than the way on carries.
    TooBig,
}

/// Where packets of the client's side come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Via {
    /// A node device.
    Outside,
    /// `lb0`.
    Lb0,
}

/// A packet that comes in on a node device, `whole` bytes long from the network header on (as it will be sent).
#[inline(always)]
pub fn ingress(ctx: *mut c_void, p: &Packet, s: &mut Scratch, whole: u16) -> Action {
    s.key = p.key();
    let mut found = flow::find(&s.key);
    let mut service = None;
    if found.is_none() {
        match lookup::frontend(&p.dst, p.dport, p.proto, scope::OUTSIDE) {
            Frontend::None => {
                return if flow::is_stray_reply(p, s) {
                    match flow::find_moved(&s.key) {
                        Some(moved) => reply_in(ctx, p, s, &moved, whole),
                        None => Action::Drop(Reason::PktNoFlow),
                    }
                } else {
                    Action::Pass
                };
            }
            Frontend::UnknownPort => return Action::RefusePort,
            Frontend::Service(r) => service = Some(r),
        }
        found = flow::find_moved(&s.key);
    }
    if let Some(found) = found {
        found.copy_to(&mut s.flow);
        if s.flow.kind == kind::REPLY {
            return reply_in(ctx, p, s, &found, whole);
        }
        if s.flow.kind == kind::NETFILTER {
            if !p.is_syn() {
                found.client_sent(flow::bits(p), flow::now());
                return Action::Pass;
            }
            // The client opens another connection from the same port, and that one is ours.
            flow::remove(found.new, &s.key);
        } else if !flow::is_lb0(&s.flow)
            && let Some(action) = established(ctx, p, s, &found, whole, Via::Outside)
        {
            return action;
        }
    }
    let service = match service {
        Some(service) => service,
        None => match lookup::frontend(&p.dst, p.dport, p.proto, scope::OUTSIDE) {
            Frontend::None => return Action::Pass,
            Frontend::UnknownPort => return Action::RefusePort,
            Frontend::Service(service) => service,
        },
    };
    new(ctx, p, s, &service, whole, Via::Outside)
}

/// A packet for a VIP on its way out by `lb0`: of a client on this node whose socket was not translated.
#[inline(always)]
pub fn vip(ctx: *mut c_void, p: &Packet, s: &mut Scratch, whole: u16) -> Action {
    s.key = p.key();
    let mut found = flow::find(&s.key);
    if found.is_none() {
        found = flow::find_moved(&s.key);
    }
    if let Some(found) = found {
        found.copy_to(&mut s.flow);
        if s.flow.kind == kind::FORWARD
            && flow::is_lb0(&s.flow)
            && let Some(action) = established(ctx, p, s, &found, whole, Via::Lb0)
        {
            return action;
        }
    }
    match lookup::frontend(&p.dst, p.dport, p.proto, scope::INSIDE) {
        Frontend::Service(service) => new(ctx, p, s, &service, whole, Via::Lb0),
        Frontend::UnknownPort | Frontend::None => match lookup::vip(&p.dst) {
            Some(_) => Action::RefusePort,
            None => Action::Drop(Reason::PktUnallocated),
        },
    }
}

/// A packet on its way out by the other end of `lb0`: the reply of a backend on this node, or a stray.
#[inline(always)]
pub fn vip_reply(p: &Packet, s: &mut Scratch) -> Action {
    s.key = p.key();
    let mut found = flow::find(&s.key);
    if found.is_none() {
        found = flow::find_moved(&s.key);
    }
    let Some(found) = found.and_then(|found| found.current(&s.key, &mut s.flow)) else {
        return Action::Drop(Reason::PktNoFlow);
    };
    if s.flow.kind != kind::REPLY || !flow::is_local(&s.flow) || !flow::is_lb0(&s.flow) {
        return Action::Drop(Reason::PktNoFlow);
    }
    found.server_sent(flow::bits(p), flow::now());
    Action::Reply
}

/// A packet of the client's side whose forward record, copied to `s.flow`, was found. `None`: it starts anew.
#[inline(always)]
fn established(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    found: &Found,
    whole: u16,
    via: Via,
) -> Option<Action> {
    if s.flow.generation == 0 {
        return None;
    }
    // UDP moves on when its backend stops serving; TCP and SCTP keep it, but open nothing there.
    let moves = !p.connects() || p.is_syn();
    let over = moves && !lookup::is_member(s.flow.service, s.flow.backend, member::SERVING);
    let now = flow::now();
    let local = flow::is_local(&s.flow);
    if over || !flow::goes_alone(p, s, found, now) {
        let Some(twin) = flow::verified_twin(p, s, found.new) else {
            flow::forget(s, found.new, None);
            return None;
        };
        if over || (p.is_syn() && twin.is_closed()) {
            flow::forget(s, found.new, Some(&twin));
            return None;
        }
        twin.client_sent(flow::bits(p), now);
        found.prove(&s.key, &s.flow, p.ifindex, now);
        s.flow.ifindex = p.ifindex;
        s.flow.last_seen_ns = now;
        flow::promote(p, s, found.new, &twin);
        if local || via == Via::Lb0 {
            twin.moved_to(p.ifindex);
        }
    }
    if local {
        return Some(Action::Deliver);
    }
    if p.ttl <= 1 {
        return Some(Action::Expired);
    }
    let way = route::find(
        ctx,
        &mut s.fib,
        p,
        (&s.flow.src, &s.flow.dst),
        whole,
        For::Forward,
    );
    Some(send(way))
}

/// A reply of a backend on another node, to an address and port of ours.
#[inline(always)]
fn reply_in(ctx: *mut c_void, p: &Packet, s: &mut Scratch, found: &Found, whole: u16) -> Action {
    let Some(found) = found.current(&s.key, &mut s.flow) else {
        return Action::Pass;
    };
    if s.flow.kind != kind::REPLY || flow::is_local(&s.flow) {
        return Action::Pass;
    }
    found.server_sent(flow::bits(p), flow::now());
    if flow::is_lb0(&s.flow) {
        return Action::Hand;
    }
    if p.ttl <= 1 {
        return Action::Expired;
    }
    let way = route::find(
        ctx,
        &mut s.fib,
        p,
        (&s.flow.src, &s.flow.dst),
        whole,
        For::Reply,
    );
    send(way)
}

/// A packet on its way out: the reply of a backend on this node?
#[inline(always)]
pub fn egress(p: &Packet, s: &mut Scratch) -> Action {
    s.key = p.key();
    let Some(found) = flow::read(&s.key, &mut s.flow) else {
        return Action::Pass;
    };
    if s.flow.kind != kind::REPLY || !flow::is_local(&s.flow) {
        return Action::Pass;
    }
    found.server_sent(flow::bits(p), flow::now());
    Action::Reply
}

/// The first packet of a flow, or one whose records are lost.
#[inline(always)]
fn new(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    service: &ServiceRef,
    whole: u16,
    via: Via,
) -> Action {
    if via == Via::Outside && p.connects() && !p.is_syn() && flow::adopting() {
        return Action::Pass;
    }
    if service.flags & frontend::LOAD_BALANCER != 0
        && lookup::choose::flags(service.index) & service_flags::SOURCE_RANGES != 0
        && !admitted(p, service.index)
    {
        count::reject(service.index);
        return Action::Drop(Reason::PktSourceDenied);
    }
    if p.is_rst() {
        return Action::Drop(Reason::PktNoFlow);
    }
    let hash = flow::hash(p);
    let client = Client {
        affinity: p.src,
        flow_hash: Some(hash),
    };
    let chosen = match lookup::choose(service, &client) {
        Ok(chosen) => chosen,
        Err(Refusal::NoEndpoint) => return Action::Refuse(service.index),
        Err(Refusal::NoLocal) => {
            count::reject(service.index);
            return Action::Drop(Reason::PktNoLocalEndpoint);
        }
        Err(Refusal::Broken) => return Action::Drop(Reason::BadIndex),
    };
    if chosen.backend.addr.is_v4() != p.v4 || chosen.backend.proto != p.proto {
        return Action::Drop(Reason::BadIndex);
    }
    s.flow.kind = kind::FORWARD;
    s.flow.service = service.index;
    s.flow.backend = chosen.id;
    s.flow.ifindex = p.ifindex;
    s.flow.client = 0;
    s.flow.server = 0;
    s.flow.last_seen_ns = flow::now();
    open(ctx, p, s, &chosen.backend, hash, whole, via)
}

/// Claims the records of a flow to this backend.
#[inline(always)]
fn open(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    backend: &Backend,
    hash: u32,
    whole: u16,
    via: Via,
) -> Action {
    let from_lb0 = if via == Via::Lb0 { flags::LB0 } else { 0 };
    s.flow.dst = backend.addr;
    s.flow.dport = backend.port;
    s.flow.src = p.src;
    let mut way = Route::Here;
    if !lookup::is_local(backend) {
        way = route::find(
            ctx,
            &mut s.fib,
            p,
            (&p.src, &backend.addr),
            whole,
            For::Forward,
        );
        // The kernel says the same of an address of its own and of one that it has no route to.
        if way == Route::Here && !lookup::is_node_addr(&s.flow.dst) {
            way = Route::None;
        }
        // A pod of this node whose endpoint names no node: its reply comes in where none of our programs stands, and is
        // caught on its way out instead.
        if matches!(way, Route::Found { .. }) && !route::is_node_device(s.fib.ifindex) {
            way = Route::Here;
        }
    }
    let local = way == Route::Here;
    if local {
        s.flow.flags = flags::LOCAL | from_lb0;
        if via == Via::Lb0 {
            // Its reply must come back over `lb0`, whatever the pods' network does with what pods send each other.
            s.flow.src = if p.v4 { lb0::SOURCE_V4 } else { lb0::SOURCE_V6 };
        }
    } else {
        if p.ttl <= 1 {
            return Action::Expired;
        }
        match way {
            Route::None => return Action::Drop(Reason::PktNoRoute),
            // Of the way itself nothing is known then, so nothing is recorded.
            Route::TooBig => return Action::TooBig,
            Route::Found { .. } | Route::Here => {}
        }
        s.flow.flags = from_lb0;
        match route::source(&s.fib, p.v4) {
            Some(source) => s.flow.src = source,
            None => return Action::Drop(Reason::PktNoRoute),
        }
    }
    if !snat_port::claim(p, s, local || flow::in_range(p.sport), hash) {
        return Action::Drop(Reason::PktSnatExhausted);
    }
    if local {
        if s.flow.sport != p.sport {
            count(Reason::PktPortRewritten);
        }
    } else {
        flow::remember_peer(s);
    }
    snat_port::record(s);
    count::connection(s.flow.service);
    if local { Action::Deliver } else { send(way) }
}

/// The action for a packet whose way was asked for.
#[inline(always)]
pub fn send(way: Route) -> Action {
    match way {
        Route::Found { neighbour } => Action::Send { neighbour },
        Route::TooBig => Action::TooBig,
        // A packet with its source rewritten never enters our own stack.
        Route::Here | Route::None => Action::Drop(Reason::PktNoRoute),
    }
}

/// Is the source in one of the service's source ranges?
#[inline(always)]
fn admitted(p: &Packet, service: u32) -> bool {
    let key = Key::new(
        32 + 128,
        SourceRange {
            service,
            addr: p.src,
        },
    );
    SRCRANGES.get(&key).is_some()
}
