//! What connect and sendmsg have in common: the destination, and its translation.

use lb_common::{
    Addr, Proto, Reason,
    affinity::AffinityKey,
    frontend::{self, FrontendValue, scope},
    sock::SockRecord,
};

use super::context::{Ctx, Family, by_agent, errno, refuse};
use crate::{
    config,
    count::{connection, count, reject},
    lookup::{self, Chosen, Client, Frontend, Refusal},
    maps::NETNS,
};

/// The destination of a connect or sendmsg, and what it is to us.
pub struct Destination {
    /// As the application gave it.
    pub addr: Addr,
    /// Host order.
    pub port: u16,
    /// TCP or UDP.
    pub proto: u8,
    /// [`Ours::No`] also for a socket that is not to be translated.
    pub ours: Ours,
    /// All zero unless [`Ours::Service`] or [`Ours::ByLb0`]: a compiler that carries an undefined value along would
    /// lose the verifier.
    pub frontend: FrontendValue,
    /// Only a backend at an address of this machine takes what this socket sends, for it is bound to
    /// loopback, and there is no `lb0`.
    pub own_alone: bool,
}

/// [`Frontend`] without its payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ours {
    /// Let it pass untouched.
    No,
    /// A port of [`Destination::frontend`].
    Service,
    /// The same, of a socket that is bound to loopback: see [`super::loopback`].
    ByLb0 {
        /// Of IPv4's loopback.
        v4: bool,
    },
    /// A known VIP, on a port that it does not define.
    UnknownPort,
}

/// TCP and UDP sockets; others (ICMP datagram sockets connect too) are never translated.
#[inline(always)]
pub fn protocol<F: Family>(ctx: &Ctx<F>) -> Option<Proto> {
    match ctx.protocol() {
        6 => Some(Proto::Tcp),
        17 => Some(Proto::Udp),
        _ => None,
    }
}

/// Looks the destination up, in the order of what most calls are: nothing of ours. `source` tells
/// where the packets come from, if that is known already.
#[inline(always)]
pub fn destination<F: Family>(
    ctx: &Ctx<F>,
    proto: Proto,
    source: impl FnOnce(&Ctx<F>) -> Addr,
) -> Destination {
    let addr = ctx.addr();
    let port = ctx.port();
    let proto = proto.number();
    let (mut service, mut own_alone) = (Ours::Service, false);
    let frontend = if port == 0 || !in_scope(ctx) {
        Frontend::None
    } else if addr.is_loopback() || addr.is_unspecified() {
        // A pod's own 127.0.0.1:30080 is its own.
        if on_loopback(&addr) && ctx.in_host() {
            let source = source(ctx);
            if source.is_loopback() {
                if config::lb0() == 0 {
                    own_alone = true;
                } else {
                    service = Ours::ByLb0 { v4: source.is_v4() };
                }
            }
            lookup::node_port(&addr, port, proto, scope::INTERNAL)
        } else {
            Frontend::None
        }
    } else {
        lookup::frontend(&addr, port, proto, scope::INTERNAL)
    };
    let none = FrontendValue { pool: 0, flags: 0 };
    let (mut ours, frontend) = match frontend {
        Frontend::None => (Ours::No, none),
        Frontend::Service(frontend) if asks_for_source(&frontend) => (Ours::No, none),
        Frontend::Service(frontend) => (service, frontend),
        Frontend::UnknownPort => (Ours::UnknownPort, none),
    };
    if ours != Ours::No && (is_left_alone(ctx) || by_agent()) {
        ours = Ours::No;
    }
    Destination {
        addr,
        port,
        proto,
        ours,
        frontend,
        own_alone,
    }
}

/// Does the socket's network namespace want to see what the application named?
#[inline(always)]
fn is_left_alone<F: Family>(ctx: &Ctx<F>) -> bool {
    // SAFETY: presence alone is read.
    config::socket_lb() == 3 && unsafe { NETNS.get(&ctx.netns()) }.is_some()
}

/// Do node ports answer on loopback of this address's family?
#[inline(always)]
pub fn on_loopback(addr: &Addr) -> bool {
    let family = if addr.is_v4() { 1 } else { 2 };
    config::loopback_ports() & family != 0
}

/// Must the source be known, as it is on `lb0` alone? An unbound socket has none yet.
#[inline(always)]
fn asks_for_source(frontend: &FrontendValue) -> bool {
    frontend.flags & (frontend::LOAD_BALANCER | frontend::ROUTED)
        == frontend::LOAD_BALANCER | frontend::ROUTED
        && config::lb0() != 0
}

/// May this socket be translated at all?
#[inline(always)]
fn in_scope<F: Family>(ctx: &Ctx<F>) -> bool {
    match config::socket_lb() {
        0 => return false,
        1 if !ctx.in_host() => return false,
        _ => {}
    }
    config::skip_bound_device() == 0 || !ctx.bound_to_device()
}

/// Chooses a backend and writes it into the context.
#[inline(always)]
pub fn translate<F: Family>(
    ctx: &Ctx<F>,
    to: &Destination,
    netns: u64,
    flow_hash: Option<u32>,
) -> Result<Chosen, Refusal> {
    let frontend = &to.frontend;
    let client = Client {
        affinity: AffinityKey::netns(netns),
        flow_hash,
        is_placed: false,
        client_hash: 0,
        opens: true,
    };
    let chosen = lookup::choose(frontend, &client)?;
    if to.own_alone && !lookup::is_own(&chosen.backend) {
        return Err(Refusal::Broken(Reason::SockLoopbackSource));
    }
    if !ctx.set(&chosen.backend.addr, chosen.backend.port) {
        return Err(Refusal::Broken(Reason::BadIndex));
    }
    count(Reason::SockTranslated);
    connection(frontend.pool);
    Ok(chosen)
}

/// Counts a refusal, and says what the call must return.
#[inline(always)]
pub fn refused(frontend: &FrontendValue, refusal: Refusal) -> i32 {
    reject(frontend.pool);
    match refusal {
        Refusal::NoLocal => {
            count(Reason::SockNoLocalEndpoint);
            refuse(errno::EHOSTUNREACH)
        }
        Refusal::NoEndpoint => {
            count(Reason::SockNoEndpoint);
            refuse(errno::ECONNREFUSED)
        }
        Refusal::Full => {
            count(Reason::SockBackendsFull);
            refuse(errno::ECONNREFUSED)
        }
        // Nothing answers at a VIP, so the call fails now.
        Refusal::Broken(reason) => {
            count(reason);
            refuse(if matches!(reason, Reason::SockLoopbackSource) {
                errno::EINVAL
            } else {
                errno::ECONNREFUSED
            })
        }
    }
}

/// The record of a translation.
#[inline(always)]
pub fn new_record(
    to: &Destination,
    chosen: &Chosen,
    kind: u8,
    cookie: u64,
    netns: u64,
) -> SockRecord {
    SockRecord {
        vip: to.addr,
        backend: chosen.backend.addr,
        vip_port: to.port,
        backend_port: chosen.backend.port,
        proto: to.proto,
        kind,
        counted: 0,
        closed: 0,
        backend_id: chosen.id,
        pool: to.frontend.pool,
        cookie,
        netns,
    }
}
