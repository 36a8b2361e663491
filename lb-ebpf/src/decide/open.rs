//! New flows: admitted, given a backend, and recorded.

use core::ffi::c_void;

use aya_ebpf::btf_maps::lpm_trie::Key;
use lb_common::{
    Reason,
    flow::{direction, flags},
    frontend::{self, FrontendValue, scope},
    lb0,
    pool::flags as pool_flags,
    srcrange::SourceRange,
};

use super::{Action, Side, send};
use crate::{
    count::{self, count},
    flow::{
        self, foreign,
        snat_port::{self, FirstPort},
    },
    hash,
    lookup::{self, Client, Frontend, Refusal, host_socket},
    maps::SRCRANGES,
    packet::Packet,
    route::{self, For, Route},
    scratch::Scratch,
};

/// Goes on with a packet that came to be the first of a flow of a Service, or one whose entries are
/// lost; and with one that is to be refused, which a martian is not: any other keeps its action.
///
/// Each step is a function of the kernel's own (not inlined): none has to leave room on the stack
/// for another.
#[inline(always)]
pub fn go_on(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    action: Action,
    whole: u16,
    side: Side,
) -> Action {
    let goes_on = match action {
        Action::Open(_) => true,
        Action::RefusePort => side == Side::NodeDevice,
        _ => false,
    };
    if !goes_on {
        return action;
    }
    let whole_and_side = u32::from(whole) | (side as u32) << 16;
    Action::unpack(go_on_by_call(ctx, p, s, action.pack(), whole_and_side))
}

#[inline(never)]
fn go_on_by_call(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    action: u64,
    whole_and_side: u32,
) -> u64 {
    steps(ctx, p, s, action, whole_and_side).pack()
}

/// Which side this is; the lower half is the packet's length.
#[inline(always)]
fn side_of(whole_and_side: u32) -> Side {
    if whole_and_side >> 16 == Side::Lb0 as u32 {
        Side::Lb0
    } else {
        Side::NodeDevice
    }
}

#[inline(always)]
fn steps(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    packed: u64,
    whole_and_side: u32,
) -> Action {
    let side = side_of(whole_and_side);
    let packed = seen_from_by_call(p, packed, side);
    let admitted = Action::unpack(admit_by_call(ctx, p, s, packed, side));
    let Action::Open(_) = admitted else {
        return admitted;
    };
    if side == Side::NodeDevice && !p.is_syn() && host_socket::is_connected(ctx, &s.key) {
        return Action::Pass;
    }
    let chosen = Action::unpack(choose_by_call(p, s, packed));
    let Action::Open(_) = chosen else {
        return chosen;
    };
    // An endpoint that is a Service's address is none: its packets would come back to us.
    match lookup::frontend_by_call(&s.flow.dst, s.flow.dport, p.proto, scope::INTERNAL) {
        Frontend::None => {}
        Frontend::Service(_) | Frontend::UnknownPort => return Action::Refuse(s.flow.pool),
    }
    let way = Action::unpack(way_by_call(ctx, p, s, chosen.pack(), whole_and_side));
    let local = match way {
        Action::Deliver => true,
        Action::Send { .. } => false,
        _ => return way,
    };
    // The port that it would get: what stands there is of a packet before.
    s.flow.sport = p.sport;
    s.reverse_key = s.flow.reverse_key(p.proto);
    let first = if !local && host_socket::is_connected(ctx, &s.reverse_key) {
        FirstPort::OfRange
    } else {
        FirstPort::Own
    };
    if record_by_call(p, s, first) {
        way
    } else {
        Action::dropped(Reason::PktSnatExhausted)
    }
}

/// The frontend in `action`, as whoever sent the packet sees it: a pod of another node is inside,
/// though it comes in from outside.
#[inline(never)]
fn seen_from_by_call(p: &Packet, action: u64, side: Side) -> u64 {
    match Action::unpack(action) {
        Action::Open(frontend) if side == Side::NodeDevice => {
            match lookup::from_inside(p, &frontend) {
                Some(inner) => Action::Open(inner).pack(),
                None => action,
            }
        }
        _ => action,
    }
}

/// May this packet open a flow of the frontend in `action`, or be refused?
#[inline(never)]
fn admit_by_call(ctx: *mut c_void, p: &Packet, s: &mut Scratch, action: u64, side: Side) -> u64 {
    match Action::unpack(action) {
        Action::Open(frontend) => match refusal(ctx, p, s, &frontend, side) {
            Some(refused) => refused.pack(),
            None => action,
        },
        Action::RefusePort if side == Side::NodeDevice && is_martian(ctx, p, s) => {
            Action::Martian.pack()
        }
        _ => action,
    }
}

/// What becomes of a packet that may not open a flow.
#[inline(always)]
fn refusal(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    frontend: &FrontendValue,
    side: Side,
) -> Option<Action> {
    if side == Side::NodeDevice {
        if !opens(p, s) {
            return Some(Action::Pass);
        }
        if is_martian(ctx, p, s) {
            return Some(Action::Martian);
        }
    }
    if frontend.flags & frontend::LOAD_BALANCER != 0
        && lookup::choose::flags(frontend.pool) & pool_flags::SOURCE_RANGES != 0
        && !is_admitted(p, frontend.pool)
    {
        count::reject(frontend.pool);
        return Some(Action::dropped(Reason::PktSourceDenied));
    }
    p.is_rst().then(|| Action::dropped(Reason::PktNoFlow))
}

/// May this packet, for which no entry was found, be of a client of the Service? It may answer a
/// connection of this node or of its pods, or belong to one that was opened before the takeover.
#[inline(always)]
fn opens(p: &Packet, s: &Scratch) -> bool {
    if p.is_syn() {
        return true;
    }
    if (p.is_syn_ack() && !p.is_rst()) || (p.connects() && flow::adopting()) {
        return false;
    }
    !foreign::owns(&s.key, flow::now())
}

/// May no client on this side have the packet's source? What the stack would drop must not leave
/// under our address.
#[inline(never)]
fn is_martian(ctx: *mut c_void, p: &Packet, s: &mut Scratch) -> bool {
    if p.source_is_impossible() {
        return true;
    }
    if let Some(vip) = lookup::known_vip(&p.src)
        && vip.flags & frontend::CLUSTER_IP != 0
    {
        return true;
    }
    route::is_martian(ctx, &mut s.fib, p)
}

/// In the flags of the action that [`choose_by_call`] returns: the endpoint names this node.
const NAMED_HERE: u32 = 1;
/// Likewise: its address is one of this machine's.
const OWN: u32 = 1 << 1;

/// Chooses a backend of the frontend in `action`, which `s.flow` names afterwards.
#[inline(never)]
fn choose_by_call(p: &Packet, s: &mut Scratch, action: u64) -> u64 {
    match Action::unpack(action) {
        Action::Open(frontend) => choose(p, s, &frontend).pack(),
        other => other.pack(),
    }
}

#[inline(always)]
fn choose(p: &Packet, s: &mut Scratch, frontend: &FrontendValue) -> Action {
    let is_placed = lookup::choose::affinity_secs(frontend.pool) != 0;
    let client_hash = if is_placed {
        hash::of_client(&p.src)
    } else {
        0
    };
    let client = Client {
        affinity: p.src,
        flow_hash: Some(hash::of_flow(p)),
        is_placed,
        client_hash,
        opens: p.is_syn() || !p.connects(),
    };
    let chosen = match lookup::choose(frontend, &client) {
        Ok(chosen) => chosen,
        Err(Refusal::NoEndpoint) => return Action::Refuse(frontend.pool),
        Err(Refusal::Full) => return Action::RefuseFull(frontend.pool),
        Err(Refusal::NoLocal) => {
            count::reject(frontend.pool);
            return Action::dropped(Reason::PktNoLocalEndpoint);
        }
        Err(Refusal::Broken(reason)) => return Action::dropped(reason),
    };
    let backend = &chosen.backend;
    if backend.addr.is_v4() != p.v4 || backend.proto != p.proto {
        return Action::dropped(Reason::BadIndex);
    }
    s.flow.direction = direction::FORWARD;
    s.flow.pool = frontend.pool;
    s.flow.backend = chosen.id;
    s.flow.dst = backend.addr;
    s.flow.dport = backend.port;
    let mut named = 0;
    if lookup::is_local(backend) {
        named |= NAMED_HERE;
    }
    if lookup::is_own(backend) {
        named |= OWN;
    }
    Action::Open(FrontendValue {
        pool: frontend.pool,
        flags: named,
    })
}

/// Finds the way to the backend in `s.flow`, and with it the source that the packet gets.
#[inline(never)]
fn way_by_call(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    chosen: u64,
    whole_and_side: u32,
) -> u64 {
    let named = match Action::unpack(chosen) {
        Action::Open(chosen) => chosen.flags,
        _ => 0,
    };
    let side = side_of(whole_and_side);
    source(ctx, p, s, named, whole_and_side as u16, side).pack()
}

#[inline(always)]
fn source(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    named: u32,
    whole: u16,
    side: Side,
) -> Action {
    let from_lb0 = if side == Side::Lb0 { flags::LB0 } else { 0 };
    s.flow.src = p.src;
    let way = way(ctx, p, s, named, whole);
    if way == Route::Here {
        s.flow.flags = flags::LOCAL | from_lb0 | masquerade(s.flow.pool, named);
        if side == Side::Lb0 {
            // Its reply must come back over `lb0`, whatever the pods' network does with what pods
            // send each other.
            s.flow.src = if p.v4 { lb0::SOURCE_V4 } else { lb0::SOURCE_V6 };
        }
        return Action::Deliver;
    }
    if p.ttl <= 1 {
        return Action::Expired;
    }
    match way {
        Route::None => return Action::dropped(Reason::PktNoRoute),
        // Of the way itself nothing is known then, so nothing is recorded.
        Route::TooBig => return Action::TooBig,
        Route::Found { .. } | Route::Narrow | Route::Here => {}
    }
    s.flow.flags = from_lb0;
    match route::source(&s.fib, p) {
        Some(source) => s.flow.src = source,
        None => return Action::dropped(Reason::PktNoRoute),
    }
    send(way)
}

/// Is a flow to a backend on this node to be masqueraded? Not one to the node's own address, which
/// ends in the stack: netfilter masquerades what leaves it.
#[inline(always)]
fn masquerade(pool: u32, named: u32) -> u8 {
    if named & OWN == 0 && lookup::choose::flags(pool) & pool_flags::MASQUERADE != 0 {
        flags::MASQUERADED
    } else {
        0
    }
}

/// The way to the backend in `s.flow`; [`Route::Here`] if it is on this node. That is the route's
/// word: an endpoint may name a node that it does not run on.
#[inline(always)]
fn way(ctx: *mut c_void, p: &Packet, s: &mut Scratch, named: u32, whole: u16) -> Route {
    let named_here = named & NAMED_HERE != 0;
    let ends = (&p.src, &s.flow.dst);
    // A backend here gets what its device carries from the stack.
    let len = if named_here { 0 } else { whole };
    let way = route::find(ctx, &mut s.fib, p, ends, len, For::Forward);
    let found = matches!(way, Route::Found { .. } | Route::Narrow);
    let leaves = found && route::is_node_device(s.fib.ifindex);
    if named_here {
        // From one pod of a bridge to another, the reply would pass us by.
        if !leaves || (s.fib.ifindex != p.ifindex && route::has_pods(s.fib.ifindex)) {
            return Route::Here;
        }
        return route::find(ctx, &mut s.fib, p, ends, whole, For::Forward);
    }
    // The kernel says the same of an address of its own and of one that it has no route to.
    if way == Route::Here && named & OWN == 0 {
        return Route::None;
    }
    // A pod of this node whose endpoint names no node, or another one: its reply comes in on a
    // device without our programs, and is caught on its way out instead.
    if found && !leaves {
        return Route::Here;
    }
    way
}

/// Makes the entries of the flow in `s.flow`. False if there is no port for it.
#[inline(never)]
fn record_by_call(p: &Packet, s: &mut Scratch, first: FirstPort) -> bool {
    let now = flow::now();
    s.flow.ifindex = p.ifindex;
    (s.flow.client, s.flow.server) = (0, 0);
    s.flow.set_verified(now);
    if !snat_port::claim(p, s, first, hash::of_flow(p), now) {
        return false;
    }
    if flow::is_local(&s.flow) && s.flow.sport != p.sport {
        count(Reason::PktPortRewritten);
    }
    snat_port::insert_forward(s);
    count::connection(s.flow.pool);
    true
}

/// Is the source in one of the pool's source ranges?
#[inline(always)]
fn is_admitted(p: &Packet, pool: u32) -> bool {
    let key = Key::new(32 + 128, SourceRange { pool, addr: p.src });
    SRCRANGES.get(&key).is_some()
}
