//! A real API server that knows so many services, and changes them: the server of their endpoints
//! answers on each address.

use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use serde_json::json;
use testbed::cluster::Cluster;

use crate::{
    bulk::{self, NAMESPACE},
    ground::Ground,
    services::{backend, endpoints_json, service_json, slice_json, vip},
    stored,
};

/// Endpoints of all services are among so many addresses.
const ADDRESSES: u32 = 240_000;
/// After them: the service `probe` has either of two.
const PROBES: [u32; 2] = [240_001, 240_002];
/// Slices of the one large service, and endpoints of each.
const LARGE: (u32, u32) = (50, 100);
/// Its number, beyond all others'.
const LARGE_NUMBER: u32 = 65_000;
/// That of the service `probe`.
const PROBE_NUMBER: u32 = 65_001;
/// One service of so many has its endpoints replaced in a rolling update.
const ROLLED: u32 = 10;

/// How many there are of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) services: u32,
    /// Of each service.
    pub(crate) endpoints: u32,
}

/// Gone with this value.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) ground: Ground,
    pub(crate) shape: Shape,
    /// Which of its two endpoints the service `probe` has.
    probe_is_odd: Cell<bool>,
    /// Whether a tenth of the services has other endpoints than at first.
    rolled: Cell<bool>,
}

impl World {
    /// All services and the probe, written.
    pub(crate) fn new(shape: Shape) -> Result<Self> {
        let cluster = Cluster::start()?;
        let api = cluster.client();
        api.add_namespace(NAMESPACE)?;
        let objects = (0..shape.services).map(|i| {
            let slice = slice_json(&name(i), "a", &shape.addresses(i, false));
            (service_json(&name(i), vip(i).ip()), slice)
        });
        stored::create(&cluster, objects)?;
        bulk::create::<Service>(api, [service_json("probe", probe_vip().ip())])?;
        let slice = slice_json("probe", "a", &[probe(false).ip()]);
        bulk::create::<EndpointSlice>(api, [slice])?;
        Ok(Self {
            cluster,
            ground: Ground::new()?,
            shape,
            probe_is_odd: Cell::new(false),
            rolled: Cell::new(false),
        })
    }

    /// The endpoint that the service `probe` has not now.
    pub(crate) fn other_probe(&self) -> SocketAddr {
        probe(!self.probe_is_odd.get())
    }

    /// The one that it has.
    pub(crate) fn this_probe(&self) -> SocketAddr {
        probe(self.probe_is_odd.get())
    }

    /// Moves the one endpoint of the service `probe` to the other one.
    pub(crate) fn move_probe(&self) -> Result<()> {
        let odd = !self.probe_is_odd.get();
        self.probe_is_odd.set(odd);
        let patch = json!({"endpoints": endpoints_json(&[probe(odd).ip()])});
        bulk::patch::<EndpointSlice>(self.cluster.client(), [("probe-a".to_owned(), patch)])
    }

    /// Replaces every endpoint of a tenth of the services, all by one; the next time, back.
    pub(crate) fn roll(&self) -> Result<()> {
        let odd = !self.rolled.get();
        self.rolled.set(odd);
        let services = (0..self.shape.services).filter(|i| i.is_multiple_of(ROLLED));
        let patches = services.map(|i| {
            let endpoints = endpoints_json(&self.shape.addresses(i, odd));
            (format!("{}-a", name(i)), json!({"endpoints": endpoints}))
        });
        bulk::patch::<EndpointSlice>(self.cluster.client(), patches)
    }

    /// Adds a service of 5,000 endpoints.
    pub(crate) fn add_large(&self) -> Result<()> {
        let api = self.cluster.client();
        bulk::create::<Service>(api, [service_json("large", vip(LARGE_NUMBER).ip())])?;
        let (slices, _) = LARGE;
        let slices =
            (0..slices).map(|slice| slice_json("large", &format!("{slice}"), &large(slice, false)));
        bulk::create::<EndpointSlice>(api, slices)
    }

    /// Moves one endpoint of it.
    pub(crate) fn move_in_large(&self) -> Result<()> {
        let patch = json!({"endpoints": endpoints_json(&large(0, true))});
        bulk::patch::<EndpointSlice>(self.cluster.client(), [("large-0".to_owned(), patch)])
    }

    /// Takes it away again.
    pub(crate) fn remove_large(&self) -> Result<()> {
        let api = self.cluster.client();
        api.delete::<Service>(NAMESPACE, "large")?;
        let (slices, _) = LARGE;
        for slice in 0..slices {
            api.delete::<EndpointSlice>(NAMESPACE, &format!("large-{slice}"))?;
        }
        Ok(())
    }

    /// Some services of all, the first and the last among them, and who may answer for each.
    pub(crate) fn sample(&self) -> Vec<(SocketAddr, Vec<IpAddr>)> {
        let last = self.shape.services - 1;
        let some = [0, last / 3, last / 2, last];
        some.map(|i| (vip(i), self.shape.addresses(i, self.is_rolled(i))))
            .to_vec()
    }

    /// Whether it has other endpoints than at first.
    fn is_rolled(&self, i: u32) -> bool {
        self.rolled.get() && i.is_multiple_of(ROLLED)
    }
}

impl Shape {
    /// In words.
    pub(crate) fn says(self) -> String {
        let Self {
            services,
            endpoints,
        } = self;
        format!("{services} services, {} endpoints", services * endpoints)
    }

    fn addresses(self, i: u32, odd: bool) -> Vec<IpAddr> {
        let first = i * self.endpoints + if odd { ADDRESSES / 2 } else { 0 };
        (first..)
            .take(usize::try_from(self.endpoints).unwrap_or_default())
            .map(|number| backend(number % ADDRESSES).ip())
            .collect()
    }
}

/// Where clients of the service `probe` connect to.
pub(crate) fn probe_vip() -> SocketAddr {
    vip(PROBE_NUMBER)
}

/// Its endpoint.
fn probe(odd: bool) -> SocketAddr {
    backend(PROBES[usize::from(odd)])
}

fn name(i: u32) -> String {
    format!("s{i}")
}

fn large(slice: u32, moved: bool) -> Vec<IpAddr> {
    let (_, endpoints) = LARGE;
    let mut all: Vec<IpAddr> = (slice * endpoints..)
        .take(usize::try_from(endpoints).unwrap_or_default())
        .map(|number| backend(number).ip())
        .collect();
    if moved {
        all[0] = backend(ADDRESSES - 1).ip();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roll_replaces_every_endpoint() {
        let shape = Shape {
            services: 50_000,
            endpoints: 2,
        };
        for i in [0, 1, 49_999] {
            let (even, odd) = (shape.addresses(i, false), shape.addresses(i, true));
            assert_eq!((even.len(), odd.len()), (2, 2));
            assert!(even.iter().all(|address| !odd.contains(address)));
        }
        let json = service_json("probe", probe_vip().ip());
        assert_eq!(json["spec"]["clusterIP"], "10.96.254.233");
    }
}
