//! `lb-agent get`: what the kernel holds, from the pins alone, with the names that the agent kept.

mod affinity;
mod backends;
pub(super) mod columns;
mod events;
pub(super) mod filter;
pub(super) mod flows;
pub(super) mod listing;
mod pods;
mod selector;
mod services;
mod sockets;

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::Result;
use lb_common::{
    load::FlowCounts,
    maps::{ACTIVE, FLOW_COUNTS},
    stats::PoolStats,
};
pub use selector::Labels;
use serde::Serialize;

pub(super) use self::listing::Row;
use self::listing::Show;
use super::{
    args::{Get, What},
    frontends::{self, Counts, Frontend},
    output::{Reader, write},
    state::state_dir,
};
use crate::{
    maps::{
        bpf,
        dir::BpfDir,
        pinned::{Access, ArrayPin},
        stats,
        table::{ArrayTable as _, MapError},
    },
    names::{Book, NameFiles, Named},
};

/// What every JSON output of this agent carries.
pub(super) const API_VERSION: &str = "lb-agent.io/v1";

/// Between two looks of `--watch`.
const AGAIN: Duration = Duration::from_secs(1);

/// Carries the verb out.
pub fn run(get: &Get) -> Result<()> {
    let dir = BpfDir::at(get.pins.dir());
    let mut list = look(get, &dir)?;
    list.0.prepare(&get.list, &list.1)?;
    list.0.require(&get.list)?;
    let mut reader = write(&list.0.text(&get.list)?)?;
    if !get.watch {
        return Ok(());
    }
    let mut seen = BTreeMap::new();
    list.0.changes(&get.list, &mut seen)?;
    while reader == Reader::Listens {
        thread::sleep(AGAIN);
        let (mut list, book) = look(get, &dir)?;
        // What is named may go, and come again.
        list.prepare(&get.list, &book)?;
        reader = write(&list.changes(&get.list, &mut seen)?)?;
    }
    Ok(())
}

/// Reads what is asked for, and the names that there are.
fn look(get: &Get, dir: &BpfDir) -> Result<(Box<dyn Show>, Book)> {
    let state = state_dir(&get.state, dir);
    let book = book(&NameFiles::of(&state, dir.root()));
    let list: Box<dyn Show> = match get.list.what {
        What::Services => Box::new(services::list(named(dir, &book)?, &state, dir)),
        What::Backends => Box::new(backends::list(&named(dir, &book)?)),
        What::Flows => Box::new(flows::list(dir, &book)?),
        What::Sockets => Box::new(sockets::list(dir, &book)?),
        What::Affinity => Box::new(affinity::list(dir, &named(dir, &book)?)?),
        What::Events => Box::new(events::list(&state, dir)?),
        What::Pods => Box::new(pods::list(&state, dir)?),
    };
    Ok((list, book))
}

/// The columns of a kind's table; that of Services has them where it is one of several nodes.
pub(super) fn columns_of(what: What) -> &'static [columns::Column] {
    match what {
        What::Services => services::COLUMNS,
        What::Backends => backends::COLUMNS,
        What::Flows => flows::COLUMNS,
        What::Sockets => sockets::COLUMNS,
        What::Affinity => affinity::COLUMNS,
        What::Events => events::COLUMNS,
        What::Pods => pods::COLUMNS,
    }
}

/// The names that the agent kept. Without them everything else is shown all the same.
pub(super) fn book(files: &NameFiles) -> Book {
    let skipped = |error| eprintln!("lb-agent: some names are not shown: {error:#}");
    Book::new(files.load(skipped).unwrap_or_else(|error| {
        eprintln!("lb-agent: names are not shown: {error:#}");
        Vec::new()
    }))
}

/// A port of a Service, by its names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// Name of the port; empty for the only one of a Service.
    pub port: String,
}

impl ServicePort {
    pub(super) fn of(named: Named<'_>) -> Self {
        Self {
            namespace: named.service.namespace.clone(),
            name: named.service.name.clone(),
            port: named.port.name.clone(),
        }
    }

    /// `namespace/name`
    pub(super) fn service(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// `namespace/name:port`
impl std::fmt::Display for ServicePort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        if !self.port.is_empty() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// Where a backend runs, by names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// `namespace/name` of its pod.
    pub pod: Option<String>,
    /// Name of its node.
    pub node: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
}

impl Place {
    /// Of an endpoint of the Service that is asked; of any with this address where none is. A Service
    /// whose endpoint is gone does not have it any more, and another one's may have its address by now.
    pub(super) fn of(book: &Book, named: Option<Named<'_>>, address: std::net::IpAddr) -> Self {
        let found = match named {
            Some(named) => named.endpoint(address).map(|found| (named.service, found)),
            None => book.backend(address),
        };
        let Some((service, endpoint)) = found else {
            return Self::default();
        };
        let pod = endpoint.pod.as_ref();
        Self {
            pod: pod.map(|pod| format!("{}/{pod}", service.namespace)),
            node: endpoint.node.clone(),
            zone: endpoint.zone.clone(),
        }
    }
}

struct Counters {
    sockets: ArrayPin<u64>,
    flows: ArrayPin<u64>,
    stats: stats::Stats,
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
}

/// Every frontend of the pinned maps.
pub fn open(dir: &BpfDir) -> Result<Vec<Frontend>> {
    let mut maps = bpf::open(dir, Access::Read)?;
    let counters = Counters {
        sockets: ArrayPin::open(dir, ACTIVE, Access::Read)?,
        flows: ArrayPin::open(dir, FLOW_COUNTS, Access::Read)?,
        stats: stats::Stats::open(dir)?,
    };
    Ok(frontends::read(&mut maps, &counters)?)
}

/// Every frontend, with the names of its Service and of its backends.
pub(super) fn named(dir: &BpfDir, book: &Book) -> Result<Vec<Frontend>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{NamedEndpoint, NamedPort, NamedService};

    #[test]
    fn an_address_that_another_service_has_now_names_nobody_of_this_one() {
        let service = |name: &str, vip: &str, address: &str| NamedService {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            labels: BTreeMap::new(),
            ports: vec![NamedPort {
                name: String::new(),
                protocol: "TCP".to_owned(),
                port: 80,
                frontends: vec![format!("{vip}:80")],
            }],
            endpoints: vec![NamedEndpoint {
                address: address.parse().unwrap(),
                pod: Some(format!("{name}-1")),
                node: None,
                zone: None,
            }],
        };
        let book = Book::new(vec![
            service("web", "10.96.0.1", "10.0.0.1"),
            service("other", "10.96.0.2", "10.0.0.2"),
        ]);
        let web = book.frontend("TCP", "10.96.0.1", 80);
        assert!(web.is_some());
        let pod = |named, address: &str| Place::of(&book, named, address.parse().unwrap()).pod;
        assert_eq!(pod(web, "10.0.0.1").as_deref(), Some("shop/web-1"));
        assert_eq!(pod(web, "10.0.0.2"), None);
        assert_eq!(pod(None, "10.0.0.2").as_deref(), Some("shop/other-1"));
    }
}
