//! Names of what the maps hold: the Service behind a frontend, the place of a backend.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::names::{Book, NameFiles, Named};

/// The names that the agent kept. Without them everything else is shown all the same; `say`
/// takes what is wrong.
pub fn book(files: &NameFiles, say: impl Fn(String)) -> Book {
    let skipped = |error| say(format!("some names are not shown: {error:#}"));
    Book::new(files.load(skipped).unwrap_or_else(|error| {
        say(format!("names are not shown: {error:#}"));
        Vec::new()
    }))
}

/// A port of a Service, by its names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
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
    /// As it is kept.
    #[must_use]
    pub fn of(named: Named<'_>) -> Self {
        Self {
            namespace: named.service.namespace.clone(),
            name: named.service.name.clone(),
            port: named.port.name.clone(),
        }
    }

    /// `namespace/name`
    #[must_use]
    pub fn service(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// `namespace/name:port`
impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    #[must_use]
    pub fn of(book: &Book, named: Option<Named<'_>>, address: IpAddr) -> Self {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
