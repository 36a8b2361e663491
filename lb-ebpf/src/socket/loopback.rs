//! Sockets that are bound to loopback and ask for a node port there. The kernel sends a packet with
//! such a source by no device but `lb0`, so `lb0` balances it: the socket is given an address that
//! stands for loopback and is routed there.

use lb_common::{
    Reason, lb0,
    sock::{SockRecord, kind},
};

use super::{
    context::{Ctx, Family, errno, refuse},
    translate::Destination,
};
use crate::{
    config,
    count::{count, reject},
};

/// Sends the call in hand to `lb0`, and says what is to be remembered of it; or what the call must
/// return.
#[inline(always)]
pub fn by_lb0<F: Family>(
    ctx: &Ctx<F>,
    to: &Destination,
    v4: bool,
    cookie: u64,
) -> Result<SockRecord, i32> {
    let stands_for_it = if v4 {
        lb0::LOOPBACK_V4
    } else {
        lb0::LOOPBACK_V6
    };
    if !ctx.set(&stands_for_it, to.port) {
        count(Reason::SockLoopbackSource);
        reject(to.frontend.pool);
        return Err(refuse(errno::EINVAL));
    }
    // What is given a backend, and counted for it, is the flow.
    count(Reason::SockTranslated);
    Ok(SockRecord {
        vip: to.addr,
        backend: stands_for_it,
        vip_port: to.port,
        backend_port: to.port,
        proto: to.proto,
        kind: kind::BY_LB0,
        counted: 0,
        closed: 0,
        backend_id: SockRecord::NO_BACKEND,
        pool: to.frontend.pool,
        cookie,
        netns: config::host_netns_cookie(),
    })
}
