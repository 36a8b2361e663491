//! New flows: admitted, given a backend, and recorded.

use core::ffi::c_void;

use aya_ebpf::btf_maps::lpm_trie::Key;
use lb_common::{
    Reason,
    backend::Backend,
    flow::{direction, flags},
    frontend::{self, FrontendValue},
    lb0,
    pool::flags as pool_flags,
    srcrange::SourceRange,
};

use super::{Action, Side, send};
use crate::{
    count::{self, count},
    flow::{
        self, snat_peer,
        snat_port::{self, FirstPort},
    },
    lookup::{self, Client, Refusal},
    maps::SRCRANGES,
    packet::Packet,
    route::{self, For, Route},
    scratch::Scratch,
};

/// The first packet of a flow, or one whose entries are lost.
#[inline(always)]
pub fn new(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    frontend: &FrontendValue,
    whole: u16,
    side: Side,
) -> Action {
    if side == Side::NodeDevice && p.connects() && !p.is_syn() && flow::adopting() {
        return Action::Pass;
    }
    if frontend.flags & frontend::LOAD_BALANCER != 0
        && lookup::choose::flags(frontend.pool) & pool_flags::SOURCE_RANGES != 0
        && !is_admitted(p, frontend.pool)
    {
        count::reject(frontend.pool);
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
    let chosen = match lookup::choose(frontend, &client) {
        Ok(chosen) => chosen,
        Err(Refusal::NoEndpoint) => return Action::Refuse(frontend.pool),
        Err(Refusal::NoLocal) => {
            count::reject(frontend.pool);
            return Action::Drop(Reason::PktNoLocalEndpoint);
        }
        Err(Refusal::Broken(reason)) => return Action::Drop(reason),
    };
    if chosen.backend.addr.is_v4() != p.v4 || chosen.backend.proto != p.proto {
        return Action::Drop(Reason::BadIndex);
    }
    s.flow.direction = direction::FORWARD;
    s.flow.pool = frontend.pool;
    s.flow.backend = chosen.id;
    s.flow.ifindex = p.ifindex;
    s.flow.client = 0;
    s.flow.server = 0;
    s.flow.last_seen_ns = flow::now();
    open(ctx, p, s, &chosen.backend, hash, whole, side)
}

/// Makes the entries of a flow to this backend.
#[inline(always)]
fn open(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    backend: &Backend,
    hash: u32,
    whole: u16,
    side: Side,
) -> Action {
    let from_lb0 = if side == Side::Lb0 { flags::LB0 } else { 0 };
    s.flow.dst = backend.addr;
    s.flow.dport = backend.port;
    s.flow.src = p.src;
    let way = way(ctx, p, s, backend, whole);
    let local = way == Route::Here;
    if local {
        s.flow.flags = flags::LOCAL | from_lb0;
        if side == Side::Lb0 {
            // Its reply must come back over `lb0`, whatever the pods' network does with what pods
            // send each other.
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
        match route::source(&s.fib, p) {
            Some(source) => s.flow.src = source,
            None => return Action::Drop(Reason::PktNoRoute),
        }
    }
    let first = if local || snat_peer::in_range(p.sport) {
        FirstPort::Own
    } else {
        FirstPort::OfRange
    };
    if !snat_port::claim(p, s, first, hash) {
        return Action::Drop(Reason::PktSnatExhausted);
    }
    if local {
        if s.flow.sport != p.sport {
            count(Reason::PktPortRewritten);
        }
    } else {
        snat_peer::remember_peer(s);
    }
    snat_port::insert_forward(s);
    count::connection(s.flow.pool);
    if local { Action::Deliver } else { send(way) }
}

/// The way to the backend in `s.flow`; [`Route::Here`] if it is on this node.
#[inline(always)]
fn way(ctx: *mut c_void, p: &Packet, s: &mut Scratch, backend: &Backend, whole: u16) -> Route {
    if lookup::is_local(backend) {
        return Route::Here;
    }
    let ends = (&p.src, &backend.addr);
    let way = route::find(ctx, &mut s.fib, p, ends, whole, For::Forward);
    // The kernel says the same of an address of its own and of one that it has no route to.
    if way == Route::Here && !lookup::is_node_addr(&s.flow.dst) {
        return Route::None;
    }
    // A pod of this node whose endpoint names no node: its reply comes in on a device without our
    // programs, and is caught on its way out instead.
    if matches!(way, Route::Found { .. }) && !route::is_node_device(s.fib.ifindex) {
        return Route::Here;
    }
    way
}

/// Is the source in one of the pool's source ranges?
#[inline(always)]
fn is_admitted(p: &Packet, pool: u32) -> bool {
    let key = Key::new(32 + 128, SourceRange { pool, addr: p.src });
    SRCRANGES.get(&key).is_some()
}
