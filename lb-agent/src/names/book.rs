//! The kept names, to be looked up.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use super::record::{NamedEndpoint, NamedPort, NamedService, frontend_key, protocol};

/// All names that are known. What it does not know has none.
#[derive(Debug, Default)]
pub struct Book {
    services: Vec<NamedService>,
    /// Service and port, by protocol and frontend.
    frontends: HashMap<String, (usize, usize)>,
    /// Endpoint, by service and address.
    endpoints: HashMap<(usize, IpAddr), usize>,
    /// Services, by the address of an endpoint.
    users: HashMap<IpAddr, Vec<usize>>,
}

/// A Service port that a frontend belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Whose.
    pub service: &'a NamedService,
    /// Which.
    pub port: &'a NamedPort,
    book: &'a Book,
    number: usize,
}

impl Book {
    /// From records in any order.
    #[must_use]
    pub fn new(services: Vec<NamedService>) -> Self {
        let mut book = Self::default();
        for (number, service) in services.iter().enumerate() {
            for (n, port) in service.ports.iter().enumerate() {
                for frontend in &port.frontends {
                    let key = frontend_key(&port.protocol, frontend);
                    book.frontends.insert(key, (number, n));
                }
            }
            for (n, endpoint) in service.endpoints.iter().enumerate() {
                book.endpoints.insert((number, endpoint.address), n);
                book.users.entry(endpoint.address).or_default().push(number);
            }
        }
        book.services = services;
        book
    }

    /// Every Service that is known.
    #[must_use]
    pub fn services(&self) -> &[NamedService] {
        &self.services
    }

    /// The Service port behind a frontend, given as `get services` shows it.
    #[must_use]
    pub fn frontend(&self, protocol: &str, address: &str, port: u16) -> Option<Named<'_>> {
        self.find(&frontend_key(protocol, &format!("{address}:{port}")))
    }

    /// The Service port behind what a client connected to: an address of its own, or any address
    /// and the number of a node port.
    #[must_use]
    pub fn destination(&self, proto: u8, to: SocketAddr) -> Option<Named<'_>> {
        let proto = protocol(proto);
        let any = if to.is_ipv4() { "*" } else { "[*]" };
        self.find(&frontend_key(&proto, &to.to_string()))
            .or_else(|| self.frontend(&proto, any, to.port()))
    }

    /// An endpoint of this address, with its Service, if all Services that have the address agree
    /// on its pod.
    #[must_use]
    pub fn backend(&self, address: IpAddr) -> Option<(&NamedService, &NamedEndpoint)> {
        let users = self.users.get(&address)?;
        let mut found = users.iter().filter_map(|number| {
            let n = self.endpoints.get(&(*number, address))?;
            let service = &self.services[*number];
            Some((service, &service.endpoints[*n]))
        });
        let first = found.next()?;
        let same = |(service, endpoint): (&NamedService, &NamedEndpoint)| {
            endpoint.pod == first.1.pod
                && (endpoint.pod.is_none() || service.namespace == first.0.namespace)
        };
        found.all(same).then_some(first)
    }

    fn find(&self, key: &str) -> Option<Named<'_>> {
        let (number, port) = *self.frontends.get(key)?;
        let service = &self.services[number];
        Some(Named {
            service,
            port: &service.ports[port],
            book: self,
            number,
        })
    }
}

impl<'a> Named<'a> {
    /// Its endpoint of this address.
    #[must_use]
    pub fn endpoint(&self, address: IpAddr) -> Option<&'a NamedEndpoint> {
        let n = self.book.endpoints.get(&(self.number, address))?;
        self.service.endpoints.get(*n)
    }
}
