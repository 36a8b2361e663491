//! Service ports with their pools and backends, as the engine has them.

use std::sync::Arc;

use lb_common::Proto;

use super::{backends::Backend, sums::Counts};
use crate::plan::PoolId;

/// A Service port.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: Arc<str>,
    pub(super) protocol: Proto,
    pub(super) pools: Vec<Pool>,
    /// Of all its pools, sorted, each once.
    pub(super) backends: Box<[Backend]>,
    /// What was counted until the last scrape.
    pub(super) total: Counts,
}

/// A pool of a Service port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    pub(super) index: u32,
    /// What it had counted at the last scrape.
    pub(super) counted: Counts,
    /// The generation in which the port got it: what was read earlier is of another owner.
    pub(super) since: u64,
}

/// The ports of a Service with their pools, of both families and policies. Of backends they know
/// nothing yet.
pub(super) fn ports(pools: &[(PoolId, u32)]) -> Vec<Port> {
    // Most have one.
    let mut all: Vec<Port> = Vec::with_capacity(1);
    for (id, index) in pools {
        let (name, protocol) = (Arc::clone(&id.port), id.proto);
        let pool = Pool {
            index: *index,
            counted: Counts::default(),
            since: 0,
        };
        match all
            .iter_mut()
            .find(|p| p.name == name && p.protocol == protocol)
        {
            Some(port) => port.pools.push(pool),
            None => all.push(Port {
                name,
                protocol,
                pools: vec![pool],
                backends: Box::default(),
                total: Counts::default(),
            }),
        }
    }
    // One that grows has room for four.
    for port in &mut all {
        port.pools.shrink_to_fit();
    }
    all.shrink_to_fit();
    all
}

/// Are these the pools of the ports, in this order?
pub(super) fn are_of(ports: &[Port], pools: &[(PoolId, u32)]) -> bool {
    let known = ports.iter().flat_map(|port| {
        let pools = port.pools.iter();
        pools.map(|pool| (&port.name, port.protocol, pool.index))
    });
    known.eq(pools.iter().map(|(id, index)| (&id.port, id.proto, *index)))
}

/// What was counted before goes on.
pub(super) fn carried(mut known: Vec<Port>, mut now: Vec<Port>) -> Vec<Port> {
    for port in &mut now {
        let is_it = |p: &Port| p.name == port.name && p.protocol == port.protocol;
        let Some(at) = known.iter().position(is_it) else {
            continue;
        };
        let before = known.swap_remove(at);
        port.total = before.total;
        port.backends = before.backends;
        for pool in &mut port.pools {
            if let Some(same) = before.pools.iter().find(|p| p.index == pool.index) {
                *pool = *same;
            }
        }
    }
    now
}
