//! What the kernel holds, with the names that the agent kept and what is counted: frontends, their
//! backends, and rates between two looks. Read from the pins alone, by verbs and by the page.

mod frontends;
mod named;
pub mod rates;

use anyhow::Result;
use lb_common::{
    load::FlowCounts,
    maps::{ACTIVE, FLOW_COUNTS},
    stats::PoolStats,
};

use self::frontends::Counts;
#[cfg(test)]
pub(crate) use self::frontends::tests;
pub use self::{
    frontends::{Frontend, Member, Scope, Stats},
    named::{Place, ServicePort, book},
};
use crate::{
    maps::{
        bpf,
        dir::BpfDir,
        pinned::{Access, ArrayPin},
        stats,
        table::{ArrayTable as _, MapError},
        tcp::{TcpCounts, TcpStats},
    },
    names::Book,
};

struct Counters {
    sockets: ArrayPin<u64>,
    flows: ArrayPin<u64>,
    stats: stats::Stats,
    tcp: Option<TcpStats>,
}

impl Counts for Counters {
    fn sockets(&self, backend: u32) -> Result<u64, MapError> {
        self.sockets.load(backend)
    }
    fn flows(&self, backend: u32) -> Result<FlowCounts, MapError> {
        self.flows.load(backend).map(FlowCounts::from_word)
    }
    fn service(&self, index: u32) -> Result<PoolStats, MapError> {
        self.stats.service(index)
    }
    fn tcp(&self, index: u32) -> Result<Option<TcpCounts>, MapError> {
        self.tcp.as_ref().map(|tcp| tcp.pool(index)).transpose()
    }
}

/// Every frontend of the pinned maps.
pub fn open(dir: &BpfDir) -> Result<Vec<Frontend>> {
    let mut maps = bpf::open(dir, Access::Read)?;
    let counters = Counters {
        sockets: ArrayPin::open(dir, ACTIVE, Access::Read)?,
        flows: ArrayPin::open(dir, FLOW_COUNTS, Access::Read)?,
        stats: stats::Stats::open(dir)?,
        tcp: TcpStats::open(dir)?,
    };
    Ok(frontends::read(&mut maps, &counters)?)
}

/// Every frontend, with the names of its Service and of its backends.
pub fn named(dir: &BpfDir, book: &Book) -> Result<Vec<Frontend>> {
    let mut all = open(dir)?;
    for frontend in &mut all {
        let named = book.frontend(&frontend.protocol, &frontend.address, frontend.port);
        frontend.service = named.map(ServicePort::of);
        for backend in &mut frontend.backends {
            backend.place = Place::of(book, named, backend.ip());
        }
    }
    Ok(all)
}
