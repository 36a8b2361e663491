//! What the template shows, counted and in words. Everything is bounded: ten thousand Services make
//! a page of two hundred.

use std::{borrow::Borrow, collections::BTreeMap, sync::Arc, time::Instant};

use askama::Template;
use jiff::Timestamp;

use super::{
    Parts,
    asked::{Asked, Order},
    looks::Seen,
    numbers::{self, bytes, time},
    port::Port,
};
use crate::{
    inventory::{Frontend, Member, ServicePort},
    model::ObjectKey,
    observe::{audits::LastAudit, health::Report, kernel::is_almost_full},
};

/// Rows of the list on one page.
const ROWS: usize = 200;
/// Backends of one row, where there are others.
const BACKENDS: usize = 100;
/// Backends of all rows of a page.
const ALL_BACKENDS: usize = 2000;
/// Backends of the only row of a page.
const OF_ONE: usize = 10_000;
/// Services that are not fully programmed, on one page.
const PROBLEMS: usize = 100;

type Problems = BTreeMap<ObjectKey, Vec<String>>;

/// The page: fields are what its template names.
#[derive(Template)]
#[template(path = "page.html")]
pub(super) struct View<'a> {
    node: &'a str,
    version: &'static str,
    up: String,
    health: Report,
    synced: String,
    seen: &'a Seen,
    problems: Arc<Problems>,
    rows: Vec<Row<'a>>,
    list: List,
    reasons: Vec<Counted>,
    events: Vec<Counted>,
    maps: Vec<Fill>,
    audit: LastAudit,
    audited: String,
}

/// Which part of the list is shown.
struct List {
    search: String,
    order: Order,
    found: usize,
    page: usize,
    pages: usize,
}

/// A Service port.
struct Row<'a> {
    port: &'a Port,
    problems: Vec<String>,
    shown: &'a [Member],
}

/// How often something was counted.
struct Counted {
    name: &'static str,
    help: &'static str,
    n: u64,
    rate: f64,
}

/// How full a map is.
struct Fill {
    map: &'static str,
    entries: u64,
    capacity: u64,
}

impl<'a> View<'a> {
    pub(super) fn new(parts: &'a Parts, seen: &'a Seen, asked: &Asked, started: Timestamp) -> Self {
        let problems = Arc::clone(&parts.problems.borrow());
        let (list, ports) = listed(&seen.ports, asked);
        let counted = |refused: bool| {
            let of = seen.reasons.iter();
            let of = of.filter(|(reason, n, _)| *n > 0 && reason.is_refusal() == refused);
            let mut all: Vec<Counted> = of
                .map(|&(reason, n, rate)| Counted {
                    name: reason.name(),
                    help: reason.help().trim(),
                    n,
                    rate,
                })
                .collect();
            all.sort_by(|a, b| b.rate.total_cmp(&a.rate).then(b.n.cmp(&a.n)));
            all
        };
        let fill = parts.kernel.fill().into_iter();
        let health = parts.health.report(Instant::now());
        let audit = parts.audits.last();
        Self {
            node: &parts.node,
            version: env!("CARGO_PKG_VERSION"),
            up: ago(started),
            synced: ago(health.last_updated),
            health,
            rows: rows(&ports, &problems),
            problems,
            list,
            reasons: counted(true),
            events: counted(false),
            maps: fill
                .map(|(map, (entries, capacity))| Fill {
                    map,
                    entries,
                    capacity,
                })
                .collect(),
            audited: audit.ended.map_or_else(String::new, ago),
            audit,
            seen,
        }
    }

    /// Services that are not fully programmed, as many as are shown.
    fn not_programmed(&self) -> impl Iterator<Item = (&ObjectKey, &Vec<String>)> {
        self.problems.iter().take(PROBLEMS)
    }

    fn not_programmed_left(&self) -> usize {
        self.problems.len().saturating_sub(PROBLEMS)
    }

    /// Of all Service ports.
    fn connections(&self) -> String {
        let rates = self.seen.ports.iter().filter_map(|p| p.rates.as_ref());
        rate(rates.map(|r| r.connections_per_second).sum::<f64>())
    }

    /// Of all reasons.
    fn refusals(&self) -> String {
        rate(self.reasons.iter().map(|r| r.rate).sum::<f64>())
    }

    fn between(&self) -> String {
        format!("{:.1} s", self.seen.between.as_secs_f64())
    }

    fn took(&self) -> u128 {
        self.seen.took.as_millis()
    }

    /// Maps whose entries differed.
    fn drifted(&self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        let maps = self.audit.maps.iter().copied();
        maps.filter(|(_, drift, repaired)| drift + repaired > 0)
    }

    fn is_drifted(&self) -> bool {
        self.audit.maps.iter().any(|(_, drift, _)| *drift > 0)
    }

    /// Column headings by which the list can be ordered.
    fn orders() -> [(Order, &'static str, &'static str); 4] {
        [
            (Order::Active, "Active", "open connections"),
            (Order::Connections, "Conn/s", "connections a second"),
            (Order::Bytes, "Bytes/s", "bytes a second, packet path"),
            (Order::Refused, "Refused", "refused or dropped"),
        ]
    }
}

impl List {
    fn first(&self) -> usize {
        (self.page - 1) * ROWS
    }

    fn last(&self) -> usize {
        (self.first() + ROWS).min(self.found)
    }
}

/// The part of the list that is asked for, with its ports.
fn listed<'a>(all: &'a [Port], asked: &Asked) -> (List, Vec<&'a Port>) {
    let words = asked.words();
    let mut found: Vec<&Port> = all.iter().filter(|port| port.holds(&words)).collect();
    let order = asked.order();
    if order != Order::Name {
        found.sort_by(|a, b| value(b, order).total_cmp(&value(a, order)));
    }
    let pages = found.len().div_ceil(ROWS).max(1);
    let list = List {
        search: asked.search(),
        order,
        found: found.len(),
        page: asked.page().min(pages),
        pages,
    };
    let ports = found[list.first()..list.last()].to_vec();
    (list, ports)
}

#[expect(clippy::cast_precision_loss, reason = "only compared")]
fn value(port: &Port, order: Order) -> f64 {
    let rates = port.rates.as_ref();
    match order {
        Order::Name => 0.0,
        Order::Active => port.active as f64,
        Order::Connections => rates.map_or(0.0, |r| r.connections_per_second),
        Order::Bytes => rates.map_or(0.0, |r| r.bytes_per_second),
        // Any rate is more than what is past.
        Order::Refused => rates.map_or(0.0, |r| r.rejects_per_second) * 1e15 + port.rejects as f64,
    }
}

fn rows<'a>(ports: &[&'a Port], problems: &Problems) -> Vec<Row<'a>> {
    let mut left = ALL_BACKENDS;
    let most = if ports.len() == 1 { OF_ONE } else { BACKENDS };
    let row = |port: &&'a Port| {
        let service = port.service.as_ref();
        let key = service.map(|s| ObjectKey::new(&s.namespace, &s.name));
        let problems = key.and_then(|key| problems.get(&key).cloned());
        let room = if ports.len() == 1 {
            most
        } else {
            most.min(left)
        };
        let shown = &port.backends[..room.min(port.backends.len())];
        left = left.saturating_sub(shown.len());
        Row {
            port,
            problems: problems.unwrap_or_default(),
            shown,
        }
    };
    ports.iter().map(row).collect()
}

impl Row<'_> {
    /// The same for as long as the row is.
    fn id(&self) -> String {
        format!("{} {}", self.port.protocol, self.port.name)
    }

    fn service(&self) -> String {
        let service = self.port.service.as_ref();
        service.map_or_else(|| self.port.name.clone(), ServicePort::service)
    }

    /// Its name; the number of one that has none.
    fn port_name(&self) -> String {
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

    fn vip(&self) -> String {
        self.first().map_or_else(String::new, address)
    }

    fn more(&self) -> usize {
        self.port.frontends.len() - 1
    }

    fn scheduler(&self) -> &'static str {
        self.first().map_or("", |f| f.scheduler)
    }

    fn is_without(&self) -> bool {
        self.port.ready == 0
    }

    fn left(&self) -> usize {
        self.port.backends.len() - self.shown.len()
    }

    fn active(&self) -> String {
        whole(self.port.active)
    }

    /// Of one of [`View::orders`].
    fn cell(&self, order: impl Borrow<Order>) -> String {
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
    fn refusing(&self) -> Option<String> {
        let now = self.port.rates.as_ref()?.rejects_per_second;
        (now > 0.0).then(|| rate(now))
    }
}

impl Fill {
    fn percent(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let part = 100.0 * self.entries as f64 / (self.capacity.max(1)) as f64;
        if part > 0.0 && part < 1.0 {
            "<1 %".to_owned()
        } else {
            format!("{part:.0} %")
        }
    }

    fn is_almost_full(&self) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        is_almost_full(self.entries as f64, self.capacity as f64)
    }

    /// Where a bar turns.
    fn high(&self) -> u64 {
        self.capacity / 10 * 9
    }
}

/// What has no rate has one from the next look on.
fn known(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

/// `10.96.0.1:80`
fn address(f: &Frontend) -> String {
    format!("{}:{}", f.address, f.port)
}

/// What is said of a frontend beside its address.
fn notes(f: &Frontend) -> String {
    let mut notes: Vec<String> = f.kinds.iter().map(|kind| (*kind).to_owned()).collect();
    if let [only] = f.scopes.as_slice() {
        notes.push(format!("from {}", only.name));
    }
    if f.affinity_seconds > 0 {
        notes.push(format!("affinity {} s", f.affinity_seconds));
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

/// A name, or a dash.
fn word(name: Option<&String>) -> &str {
    name.map_or("–", String::as_str)
}

/// How long since.
fn ago(then: Timestamp) -> String {
    let passed = Timestamp::now().duration_since(then);
    time(passed.try_into().unwrap_or_default())
}

// What the template passes is a number, or a reference to one.

fn count(n: impl Borrow<usize>) -> String {
    numbers::whole(*n.borrow() as u64)
}

fn whole(n: impl Borrow<u64>) -> String {
    numbers::whole(*n.borrow())
}

fn rate(n: impl Borrow<f64>) -> String {
    numbers::rate(*n.borrow())
}
