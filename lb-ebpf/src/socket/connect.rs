//! connect, getpeername and bind, and the release of a socket.

use core::ffi::c_void;

use lb_common::{
    Addr, Proto, Reason,
    frontend::{self, scope},
    sock::{SockRecord, kind},
};

use super::{
    context::{Ctx, Family, PASS, errno, refuse},
    loopback, record,
    translate::{
        Destination, Ours, destination, new_record, on_loopback, protocol, refused, translate,
    },
};
use crate::{
    config,
    count::count,
    lookup::{self, Frontend, Refusal},
};

/// connect(): translated once, here; runs again on every retry. Not run by a disconnect
/// (AF_UNSPEC).
#[inline(always)]
pub fn connect<F: Family>(ctx: &Ctx<F>) -> i32 {
    let Some(proto) = protocol(ctx) else {
        return PASS;
    };
    let to = destination(ctx, proto, Ctx::bound);
    if let Ours::ByLb0 { v4 } = to.ours {
        return match loopback::by_lb0(ctx, &to, v4, ctx.cookie()) {
            Ok(mut r) => {
                remember(ctx, proto, &mut r);
                PASS
            }
            Err(verdict) => {
                if !ctx.connected() {
                    untranslated(ctx, proto, &to);
                }
                verdict
            }
        };
    }
    if to.ours != Ours::Service {
        untranslated(ctx, proto, &to);
        // A UDP connect sends nothing, and resolvers probe their way with it.
        if proto == Proto::Tcp && to.ours == Ours::UnknownPort {
            count(Reason::SockUnknownPort);
            return refuse(errno::ECONNREFUSED);
        }
        return PASS;
    }
    let netns = ctx.netns();
    let chosen = match translate(ctx, &to, netns, None) {
        Ok(chosen) => chosen,
        // The address answers for itself as soon as an endpoint comes, and refuses until then.
        Err(refusal) if proto == Proto::Udp && waits_at_lb0(&to, &refusal) => {
            untranslated(ctx, proto, &to);
            return PASS;
        }
        Err(refusal) => {
            let verdict = refused(&to.frontend, refusal);
            // A connected UDP socket that is refused another peer keeps the one it has, and so the
            // record of it.
            if !ctx.connected() {
                untranslated(ctx, proto, &to);
            }
            return verdict;
        }
    };
    let mut r = new_record(&to, &chosen, kind::CONNECTED, ctx.cookie(), netns);
    if proto == Proto::Udp {
        // TCP is counted when it is established: see sockops.
        r.counted = 1;
    }
    remember(ctx, proto, &mut r);
    PASS
}

/// Remembers a translation, for an MPTCP socket too.
#[inline(always)]
fn remember<F: Family>(ctx: &Ctx<F>, proto: Proto, r: &mut SockRecord) {
    if proto == Proto::Tcp
        && let Some(parent) = record::mptcp_parent(ctx.sk())
    {
        record::remember(parent, r);
    }
    record::remember(ctx.sk(), r);
}

/// May a UDP socket connect to this Service, though no endpoint serves it now? Its datagrams are
/// judged one by one where the address is routed to `lb0`; nothing translates them elsewhere, and
/// such a socket would wait for ever. (Where a policy admits no endpoint of another node, `lb0` would
/// drop them in silence: the call fails, as kube-proxy lets each send fail.)
#[inline(always)]
fn waits_at_lb0(to: &Destination, refusal: &Refusal) -> bool {
    if !matches!(refusal, Refusal::NoEndpoint) || config::lb0() == 0 {
        return false;
    }
    if to.frontend.flags & frontend::ROUTED != 0 {
        return true;
    }
    to.frontend.flags & frontend::CLUSTER_IP != 0
        && lookup::vip(&to.addr).is_some_and(|vip| vip.flags & frontend::ROUTED != 0)
}

/// The socket talks to the address that it named: nothing of an earlier translation may show.
#[inline(always)]
fn untranslated<F: Family>(ctx: &Ctx<F>, proto: Proto, to: &Destination) {
    if let Some(r) = record::find(ctx.sk()) {
        // SAFETY: found in this run.
        unsafe { record::clear(r) };
        if proto == Proto::Udp {
            record::forget_peer(ctx.cookie(), &to.addr, to.port);
        }
    }
    if proto == Proto::Tcp
        && let Some(r) = record::mptcp_parent(ctx.sk()).and_then(record::find)
    {
        // Further subflows connect to where the first one already is; only that one speaks for the
        // MPTCP socket. SAFETY: found in this run.
        unsafe {
            if (*r).cookie == ctx.cookie() {
                record::clear(r);
            }
        }
    }
}

/// getpeername(): shows the VIP if the peer is still the recorded backend.
#[inline(always)]
pub fn getpeername<F: Family>(ctx: &Ctx<F>) -> i32 {
    if let Some(r) = record::find(ctx.sk()) {
        // SAFETY: found in this run.
        let r = unsafe { &*r };
        if matches!(r.kind, kind::CONNECTED | kind::BY_LB0) && answers_for(r, ctx) {
            let _ = ctx.set(&r.vip, r.vip_port);
        }
    }
    PASS
}

/// Is the address in the context the recorded backend?
#[inline(always)]
pub fn answers_for<F: Family>(r: &SockRecord, ctx: &Ctx<F>) -> bool {
    r.backend_port == ctx.port() && r.backend == ctx.addr()
}

/// bind(): in the host's namespace a programmed node port is taken, as if a socket listened on it,
/// where it answers. A socket that only wants it as its source port is refused too: what it will do
/// cannot be seen from here.
#[inline(always)]
pub fn bind<F: Family>(ctx: &Ctx<F>) -> i32 {
    if config::bind_hold() == 0 {
        return PASS;
    }
    let port = ctx.port();
    let Some(proto) = protocol(ctx) else {
        return PASS;
    };
    if port == 0 || !ctx.in_host() {
        return PASS;
    }
    let addr = ctx.addr();
    let held = |family_of: &Addr, scope| {
        matches!(
            lookup::node_port(family_of, port, proto.number(), scope),
            Frontend::Service(_)
        )
    };
    let taken =
        |family_of: &Addr| held(family_of, scope::INTERNAL) || held(family_of, scope::EXTERNAL);
    let is_held = if addr.is_unspecified() {
        // `::` stands for IPv4 too unless the socket says otherwise, which cannot be seen from
        // here.
        taken(&addr) || (addr == Addr::ZERO && taken(&Addr::v4([0; 4])))
    } else if addr.is_loopback() {
        on_loopback(&addr) && taken(&addr)
    } else {
        lookup::is_node_addr(&addr) && taken(&addr)
    };
    if is_held {
        count(Reason::BindHeld);
        return refuse(errno::EADDRINUSE);
    }
    PASS
}

/// The last close of a socket. TCP stays counted until it is closed on the wire too (see sockops).
#[inline(always)]
pub fn release(sk: *mut c_void) -> i32 {
    if let Some(r) = record::find(sk) {
        // SAFETY: found in this run.
        unsafe {
            if (*r).proto == Proto::Udp.number() {
                if matches!((*r).kind, kind::UNCONNECTED | kind::BY_LB0) {
                    record::forget_peer((*r).cookie, &(*r).backend, (*r).backend_port);
                }
                record::clear(r);
            } else {
                (*r).closed = 1;
            }
        }
    }
    PASS
}
