//! Datagrams with an address: sendmsg and recvmsg of UDP sockets. `send()` on a connected socket
//! runs neither.

use lb_common::{
    Reason, member,
    sock::{SockRecord, kind},
};

use super::{
    connect::answers_for,
    context::{Ctx, Family, PASS, errno, refuse},
    loopback, record,
    translate::{Destination, Ours, destination, new_record, protocol, refused, translate},
};
use crate::{
    count::count,
    hash,
    lookup::{self, Chosen},
};

/// sendto() and sendmsg() with an address. The socket keeps its backend for a VIP as long as that
/// one serves.
#[inline(always)]
pub fn sendmsg<F: Family>(ctx: &Ctx<F>) -> i32 {
    let Some(proto) = protocol(ctx) else {
        return PASS;
    };
    let to = destination(ctx, proto, Ctx::sent_from);
    let connected = ctx.connected();
    // A connected socket receives from its peer alone, so the record of its connect stays.
    let known = if connected {
        None
    } else {
        record::find(ctx.sk())
    };
    let cookie = ctx.cookie();
    let verdict = match to.ours {
        // It waits for an endpoint (see `connect`), and hears its peer alone. Linux names the peer
        // in each send() of a socket of IPv6 that is connected to an address of IPv4.
        Ours::Service | Ours::UnknownPort if ctx.connected_to(&to.addr, to.port) => PASS,
        Ours::Service => match target(ctx, known, &to, cookie) {
            Ok(t) => {
                if !connected {
                    let mut r = new_record(&to, &t.chosen, kind::UNCONNECTED, cookie, t.netns);
                    record::expect_peer(&r);
                    if !t.again {
                        record::remember(ctx.sk(), &mut r);
                    }
                }
                return PASS;
            }
            Err(verdict) => verdict,
        },
        Ours::ByLb0 { v4 } => match loopback::by_lb0(ctx, &to, v4, cookie) {
            Ok(mut r) => {
                if !connected {
                    record::expect_peer(&r);
                    record::remember(ctx.sk(), &mut r);
                }
                return PASS;
            }
            Err(verdict) => verdict,
        },
        Ours::UnknownPort => {
            count(Reason::SockUnknownPort);
            refuse(errno::ECONNREFUSED)
        }
        Ours::No => PASS,
    };
    // The socket talks to the address that it named, and must see answers come from that address.
    if let Some(r) = known {
        // SAFETY: found in this run.
        unsafe { record::clear(r) };
        record::forget_peer(cookie, &to.addr, to.port);
    }
    verdict
}

/// Where a datagram goes.
struct Target {
    chosen: Chosen,
    /// 0 if `again`.
    netns: u64,
    /// To the backend of the socket's record, which needs no change.
    again: bool,
}

/// The backend that the socket had for this VIP, or a new one; written into the context.
#[inline(always)]
fn target<F: Family>(
    ctx: &Ctx<F>,
    known: Option<*mut SockRecord>,
    to: &Destination,
    cookie: u64,
) -> Result<Target, i32> {
    if let Some(r) = known
        // SAFETY: found in this run.
        && let Some(chosen) = again(unsafe { &*r }, to)
        && ctx.set(&chosen.backend.addr, chosen.backend.port)
    {
        count(Reason::SockTranslated);
        return Ok(Target {
            chosen,
            netns: 0,
            again: true,
        });
    }
    let netns = ctx.netns();
    // One backend for each pair of socket and VIP, so that a socket that serves two VIPs in turn
    // stays with both backends.
    let flow_hash = hash::of_socket(cookie, &to.addr, to.port);
    let chosen = translate(ctx, to, netns, Some(flow_hash))
        .map_err(|refusal| refused(&to.frontend, refusal))?;
    Ok(Target {
        chosen,
        netns,
        again: false,
    })
}

/// The backend of the socket's record, if the record is of this VIP and the backend still serves
/// it.
#[inline(always)]
fn again(r: &SockRecord, to: &Destination) -> Option<Chosen> {
    if r.kind != kind::UNCONNECTED
        || r.vip_port != to.port
        || r.vip != to.addr
        || r.pool != to.frontend.pool
        || !lookup::is_member(r.pool, r.backend_id, member::SERVING)
    {
        return None;
    }
    let backend = lookup::backend(r.backend_id)?;
    // The id may belong to another backend of this service by now.
    let fits = !to.own_alone || lookup::is_own(&backend);
    (fits && backend.addr == r.backend && backend.port == r.backend_port).then_some(Chosen {
        id: r.backend_id,
        backend,
    })
}

/// recvfrom() and recvmsg() of any UDP socket: shows the VIP that the sender answers for.
#[inline(always)]
pub fn recvmsg<F: Family>(ctx: &Ctx<F>) -> i32 {
    match record::find(ctx.sk()) {
        Some(r) => {
            // SAFETY: found in this run.
            let r = unsafe { &*r };
            if r.kind != kind::NONE && answers_for(r, ctx) {
                let _ = ctx.set(&r.vip, r.vip_port);
                return PASS;
            }
        }
        None if !record::records_lost() => return PASS,
        None => {}
    }
    if let Some(peer) = record::peer(ctx.cookie(), &ctx.addr(), ctx.port()) {
        let _ = ctx.set(&peer.addr, peer.port);
    }
    PASS
}
