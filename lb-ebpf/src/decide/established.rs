//! Packets of a flow that has entries.

use core::ffi::c_void;

use lb_common::{
    flow::{State, direction, seen},
    frontend::scope,
    handshakes::{ANSWERED, FAILED},
    member,
    pool::flags as pool_flags,
};

use super::{Action, Side, send};
use crate::{
    bucket,
    flow::{self, Entry, Standing},
    handshake,
    lookup::{self, Frontend},
    packet::{self, Packet},
    route::{self, For},
    scratch::Scratch,
};

/// A packet of the client's side whose forward entry, copied to `s.flow`, was found. `None`: it
/// opens a new flow.
#[inline(always)]
pub fn established(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    found: &Entry,
    whole: u16,
    side: Side,
) -> Option<Action> {
    let place = place(p, s, found, side);
    if place == Place::Outside {
        return None;
    }
    let action = if flow::is_local(&s.flow) {
        Action::Deliver
    } else {
        forward(ctx, p, s, whole, For::Forward)
    };
    Some(match place {
        Place::AtItsEnd => Action::reset(action),
        _ => action,
    })
}

/// What a packet of the client's side is to the flow whose forward entry was found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It opens another: the flow is forgotten.
    Outside,
    /// It goes where the flow goes.
    Inside,
    /// It is answered by the end of the flow, on both sides.
    AtItsEnd,
}

/// What this packet of the client's side is to the flow whose forward entry was found, and copied to
/// `s.flow`.
#[inline(always)]
pub fn place(p: &Packet, s: &mut Scratch, found: &Entry, side: Side) -> Place {
    if s.flow.generation == 0 {
        return Place::Outside;
    }
    let now = flow::now();
    if flow::skip_reverse_lookup(p, s, found, now) {
        return Place::Inside;
    }
    let Some(found) = found.current(&s.key, &mut s.flow) else {
        return Place::Outside;
    };
    let Some(reverse) = flow::verified_reverse(p, s, found.table, now) else {
        flow::forget(s, found.table, None);
        return Place::Outside;
    };
    // UDP moves on when its backend stops serving; TCP and SCTP keep it, but open nothing there.
    let moves = !p.connects() || p.is_syn();
    let is_over = flow::is_past(reverse.peek(), p.proto, now)
        || (p.is_syn() && Standing::of(reverse.peek(), p.proto).is_over);
    // Sent again, since nobody has answered the first one; of a watched pool.
    let is_repeated = p.is_syn()
        && reverse.peek().server & seen::PACKET == 0
        && !s.flow.is_verified(now)
        && !flow::is_direct(&s.flow)
        && handshake::count(
            s.flow.pool,
            s.flow.backend,
            &s.flow.dst,
            s.flow.dport,
            FAILED,
        ) != 0;
    let asks = if moves {
        !flow::is_direct(&s.flow)
    } else {
        lookup::choose::flags(s.flow.pool) & pool_flags::RESET != 0
    };
    let moved = asks && has_left(p, s, side, moves, is_repeated);
    // Whoever the next packet of SCTP goes to knows no such association, and aborts it.
    if is_over || (moved && (moves || !p.is_tcp())) {
        flow::forget(s, found.table, Some(&reverse));
        return Place::Outside;
    }
    let is_ended = !p.is_rst()
        && !p.is_fragment()
        && (moved || (p.is_tcp() && !moves && is_too_old(p, s, &reverse, side, now)));
    if is_ended {
        reverse.close(p, now);
        return Place::AtItsEnd;
    }
    reverse.client_sent(p, now);
    found.mark_verified(&s.key, &s.flow, p.ifindex, now);
    s.flow.ifindex = p.ifindex;
    s.flow.set_verified(now);
    // Before it is copied to the other map.
    if flow::is_local(&s.flow) || side == Side::Lb0 {
        reverse.moved_to(p.ifindex);
    }
    // A UDP flow is confirmed by its first answer: see `answer`.
    if flow::promote(p, s, found.table, &reverse) && p.connects() {
        lookup::remember_confirmed(s.flow.pool, &p.src, s.flow.backend);
    }
    Place::Inside
}

/// Has the flow's backend left its pool? What moves goes by what a new flow would be given: the
/// frontend must still be the pool's, and the backend a member that serves, at the same address.
/// A SYN of a watched pool that nobody has answered goes to one that new flows are given.
/// What does not move keeps its backend as long as that one is a member at all, and where the
/// frontend is no longer the pool's.
#[inline(always)]
fn has_left(p: &Packet, s: &Scratch, side: Side, moves: bool, is_repeated: bool) -> bool {
    let wanted = match (moves, is_repeated) {
        (false, _) => 0,
        (true, false) => member::SERVING,
        (true, true) => member::ELIGIBLE,
    };
    if has_backend(s, wanted) != moves {
        return moves;
    }
    leads_to_pool(p, s, side) != moves
}

/// Has its Service a limit to the age of connections, and is it the turn of this one? Its age counts
/// from here on where it has none. What was ended is ended again: by tc after XDP, and whenever its
/// client goes on.
#[inline(always)]
fn is_too_old(p: &Packet, s: &Scratch, reverse: &Entry, side: Side, now: u64) -> bool {
    let limit = lookup::choose::age_limit(s.flow.pool);
    if limit.max_age == 0 {
        return false;
    }
    if !limit.is_over_for(reverse.peek(), now) {
        reverse.date(now);
        return false;
    }
    if p.is_fin() || !leads_to_pool(p, s, side) {
        return false;
    }
    match reverse.peek().state(p.proto) {
        State::Closed => true,
        State::Established => bucket::allows_end(),
        // It ends by itself.
        _ => false,
    }
}

/// Is the flow's backend a member of its pool, with all of these flags, and at the same address?
#[inline(always)]
fn has_backend(s: &Scratch, wanted: u32) -> bool {
    if !lookup::is_member(s.flow.pool, s.flow.backend, wanted) {
        return false;
    }
    match lookup::backend(s.flow.backend) {
        Some(b) => b.port == s.flow.dport && packet::same(&b.addr, &s.flow.dst),
        None => false,
    }
}

/// Is the frontend still the pool's?
#[inline(always)]
fn leads_to_pool(p: &Packet, s: &Scratch, side: Side) -> bool {
    let pool = s.flow.pool;
    match side {
        Side::Lb0 => match lookup::frontend_on_lb0(p) {
            Frontend::Service(frontend) => frontend.pool == pool,
            _ => false,
        },
        Side::NodeDevice => {
            match lookup::frontend_by_call(&p.dst, p.dport, p.proto, scope::EXTERNAL) {
                Frontend::Service(frontend) => {
                    frontend.pool == pool
                        || lookup::from_inside(p, &frontend).is_some_and(|inner| inner.pool == pool)
                }
                _ => false,
            }
        }
    }
}

/// A packet with the tuple of a reply entry, that comes in: of a backend on another node, to an
/// address and port of ours. `None` if the entry is nobody's.
#[inline(always)]
pub fn reply_in(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    found: &Entry,
    whole: u16,
) -> Option<Action> {
    let Some(found) = found.current(&s.key, &mut s.flow) else {
        return Some(Action::Pass);
    };
    if s.flow.direction != direction::REPLY || flow::is_local(&s.flow) {
        return Some(Action::Pass);
    }
    if !answer(p, s, &found) {
        return None;
    }
    if flow::is_stack(&s.flow) {
        return Some(Action::Deliver);
    }
    if flow::is_lb0(&s.flow) {
        return Some(Action::DeliverVia);
    }
    Some(forward(ctx, p, s, whole, For::Reply))
}

/// Notes a packet of the server's side in its reply entry, which was copied to `s.flow`. False if
/// the entry is nobody's by now.
#[inline(always)]
pub fn answer(p: &Packet, s: &mut Scratch, found: &Entry) -> bool {
    let now = flow::now();
    if flow::is_past(&s.flow, p.proto, now) {
        return false;
    }
    found.server_sent(p, now);
    if !p.connects() && s.flow.server & seen::PACKET == 0 {
        lookup::remember_confirmed(s.flow.pool, &s.flow.dst, s.flow.backend);
    }
    if p.is_fin() {
        flow::unverify(p, s);
    }
    let what = if p.has_syn() {
        ANSWERED
    } else if p.is_rst() && s.flow.server & seen::PACKET == 0 {
        FAILED
    } else {
        return true;
    };
    handshake::count(s.flow.pool, s.flow.backend, &p.src, p.sport, what);
    true
}

/// Looks up the way of a packet of `s.flow`.
#[inline(always)]
fn forward(ctx: *mut c_void, p: &Packet, s: &mut Scratch, whole: u16, what: For) -> Action {
    if p.ttl <= 1 {
        return Action::Expired;
    }
    let ends = (&s.flow.src, &s.flow.dst);
    send(route::find(ctx, &mut s.fib, p, ends, whole, what))
}
