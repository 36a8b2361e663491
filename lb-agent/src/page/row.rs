//! A row of the list in words, with as many of its backends as a page has room for.

use std::{borrow::Borrow, collections::BTreeMap};

use super::{
    asked::Order,
    numbers::{bytes, rate, whole},
    port::Port,
    texts::problems,
};
use crate::{
    inventory::{Frontend, Member, ServicePort},
    model::ObjectKey,
};

/// Backends of one row, where others are asked for, too.
const BACKENDS: usize = 100;
/// Backends of all rows of a page.
const ALL_BACKENDS: usize = 2000;
/// Backends of a row that is the only one asked for.
const OF_ONE: usize = 10_000;

/// What is not programmed of each Service, and why.
pub(super) type Problems = BTreeMap<ObjectKey, Vec<String>>;

/// A Service port.
pub(super) struct Row<'a> {
    pub(super) port: &'a Port,
    pub(super) problems: Vec<String>,
    pub(super) shown: &'a [Member],
}

/// Those of one page, of so many that were found.
pub(super) fn rows<'a>(ports: &[&'a Port], found: usize, all: &Problems) -> Vec<Row<'a>> {
    let (of_each, mut left) = match found {
        1 => (OF_ONE, OF_ONE),
        _ => (BACKENDS, ALL_BACKENDS),
    };
    let row = |port: &&'a Port| {
        let service = port.service.as_ref();
        let key = service.map(|s| ObjectKey::new(&s.namespace, &s.name));
        let texts = key.and_then(|key| all.get(&key));
        let room = of_each.min(left).min(port.backends.len());
        left -= room;
        Row {
            port,
            problems: texts.map_or_else(Vec::new, |texts| problems(texts)),
            shown: &port.backends[..room],
        }
    };
    ports.iter().map(row).collect()
}

impl Row<'_> {
    pub(super) fn service(&self) -> String {
        let service = self.port.service.as_ref();
        service.map_or_else(|| self.port.name.clone(), ServicePort::service)
    }

    /// Its name; the number of one that has none.
    pub(super) fn port_name(&self) -> String {
        match &self.port.service {
            Some(service) if !service.port.is_empty() => service.port.clone(),
            _ => self
                .first()
                .map_or_else(String::new, |f| f.port.to_string()),
        }
    }

    /// The cluster IP, if there is one.
    fn first(&self) -> Option<&Frontend> {
        let all = &self.port.frontends;
        let cluster_ip = all.iter().find(|f| f.kinds.contains(&"ClusterIP"));
        cluster_ip.or_else(|| all.first())
    }

    pub(super) fn vip(&self) -> String {
        self.first().map_or_else(String::new, address)
    }

    pub(super) fn more(&self) -> usize {
        self.port.frontends.len() - 1
    }

    pub(super) fn scheduler(&self) -> &'static str {
        self.first().map_or("", |f| f.scheduler)
    }

    pub(super) fn is_without(&self) -> bool {
        self.port.ready == 0
    }

    pub(super) fn left(&self) -> usize {
        self.port.backends.len() - self.shown.len()
    }

    fn active(&self) -> String {
        whole(self.port.active)
    }

    /// The cell of a column by which the list can be ordered.
    pub(super) fn cell(&self, order: impl Borrow<Order>) -> String {
        let rates = self.port.rates.as_ref();
        match *order.borrow() {
            Order::Name => self.port.name.clone(),
            Order::Active => self.active(),
            Order::Connections => known(rates.map(|r| rate(r.connections_per_second))),
            Order::Bytes => known(rates.map(|r| bytes(r.bytes_per_second))),
            Order::Refused => whole(self.port.rejects),
        }
    }

    /// Refused now.
    pub(super) fn refusing(&self) -> Option<String> {
        let now = self.port.rates.as_ref()?.rejects_per_second;
        (now > 0.0).then(|| rate(now))
    }
}

/// What has no rate has one from the next look on.
fn known(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

/// `10.96.0.1:80`
pub(super) fn address(f: &Frontend) -> String {
    format!("{}:{}", f.address, f.port)
}

/// What is said of a frontend beside its address.
pub(super) fn notes(f: &Frontend) -> String {
    let mut notes: Vec<String> = f.kinds.iter().map(|kind| (*kind).to_owned()).collect();
    if let [only] = f.scopes.as_slice() {
        notes.push(format!("from {}", only.name));
    }
    if f.affinity_seconds > 0 {
        notes.push(format!("affinity {} s", f.affinity_seconds));
    }
    if f.max_connections > 0 {
        notes.push(format!("max {} connections a backend", f.max_connections));
    }
    if f.max_connection_age_seconds > 0 {
        notes.push(format!("max age {} s", f.max_connection_age_seconds));
    }
    if f.source_ranges {
        notes.push("source ranges".to_owned());
    }
    if f.snat {
        notes.push("snat".to_owned());
    }
    if let Some(why) = f.without_backends {
        notes.push(why.to_owned());
    }
    notes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        inventory::{rates::sums, tests::row},
        page::{
            asked::Asked,
            list::listed,
            port::{Port, ports},
        },
    };

    /// A Service port of so many backends.
    fn frontend(name: &str, port: &str, protocol: &str, backends: u32) -> Frontend {
        let n = u16::try_from(name.len() + port.len()).unwrap();
        let ends = (0..backends).map(|id| Member::for_tests(id, [10, 0, 0, 1], 0));
        let vip = lb_common::Addr::v4([10, 96, 0, 1]);
        let mut made = row(vip, n, "inside", 0, ends.collect());
        protocol.clone_into(&mut made.protocol);
        made.service = Some(ServicePort {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            port: port.to_owned(),
        });
        made
    }

    fn of(frontends: Vec<Frontend>) -> Vec<Port> {
        let counted = sums(&frontends);
        ports(frontends, &counted, Vec::new())
    }

    fn asked(query: &[(&str, &str)]) -> Asked {
        let query = query
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Asked::from(query.collect::<BTreeMap<_, _>>())
    }

    /// Id and shown backends of each row.
    fn shown(all: &[Port], query: &[(&str, &str)]) -> Vec<(String, usize)> {
        let (list, ports) = listed(all, &asked(query));
        let rows = rows(&ports, list.found, &Problems::new());
        let of = |row: &Row<'_>| (row.port.id(), row.shown.len());
        rows.iter().map(of).collect()
    }

    #[test]
    fn limits_are_said_of_a_frontend() {
        let mut limited = frontend("web", "http", "TCP", 1);
        assert_eq!(notes(&limited), "ClusterIP, from inside");
        (limited.max_connections, limited.max_connection_age_seconds) = (50, 1800);
        let said = "ClusterIP, from inside, max 50 connections a backend, max age 1800 s";
        assert_eq!(notes(&limited), said);
    }

    #[test]
    fn a_row_that_is_asked_for_alone_is_alone_and_has_more_backends() {
        let all = of(vec![
            frontend("dns", "dns", "TCP", 150),
            frontend("dns", "dns", "UDP", 150),
            frontend("dns", "dns-tcp", "TCP", 150),
        ]);
        assert_eq!(shown(&all, &[("q", "shop/dns:dns")]).len(), 3);
        for port in &all {
            let id = port.id();
            assert_eq!(shown(&all, &[("only", &id)]), [(id, 150)]);
        }
        assert!(shown(&all, &[("only", "TCP shop/dns:dn")]).is_empty());
        assert!(shown(&all, &[("only", "TCP shop/dns:dns"), ("q", "udp")]).is_empty());
        assert_eq!(
            shown(&all, &[("q", "dns-tcp")]),
            [("TCP shop/dns:dns-tcp".to_owned(), 150)]
        );
        let huge = of(vec![frontend("huge", "", "TCP", 10_001)]);
        assert_eq!(shown(&huge, &[])[0].1, 10_000);
    }

    #[test]
    fn the_only_row_of_the_last_page_is_one_of_many() {
        let names: Vec<String> = (0..201).map(|n| format!("many-{n:03}")).collect();
        let all = names.iter().map(|name| frontend(name, "", "TCP", 150));
        let all = of(all.collect());
        let last = shown(&all, &[("page", "2")]);
        assert_eq!(last, [("TCP shop/many-200".to_owned(), 100)]);
        let first: Vec<usize> = shown(&all, &[]).into_iter().map(|(_, n)| n).collect();
        assert_eq!(first[..21], [&[100; 20][..], &[0]].concat());
        assert_eq!(first.len(), 200);
    }
}
