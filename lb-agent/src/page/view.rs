//! What the template shows, counted and in words. Everything is bounded: ten thousand Services make
//! a page of two hundred.

use std::{sync::Arc, time::Instant};

use askama::Template;
use jiff::Timestamp;

use super::{
    Parts,
    asked::{Asked, Order},
    list::{List, listed},
    looks::Seen,
    numbers::{count, rate, time, whole},
    row::{Problems, Row, address, notes, rows},
    texts::{name, problems},
};
use crate::{
    model::ObjectKey,
    observe::{audits::LastAudit, health::Report, kernel::is_almost_full},
};

/// Services that are not fully programmed, on one page.
const PROBLEMS: usize = 100;

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
            rows: rows(&ports, list.found, &problems),
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
    fn not_programmed(&self) -> impl Iterator<Item = (&ObjectKey, Vec<String>)> {
        let all = self.problems.iter().take(PROBLEMS);
        all.map(|(service, texts)| (service, problems(texts)))
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

/// How long since.
fn ago(then: Timestamp) -> String {
    let passed = Timestamp::now().duration_since(then);
    time(passed.try_into().unwrap_or_default())
}
