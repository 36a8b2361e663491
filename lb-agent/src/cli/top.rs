//! `lb-agent top`: what each Service port does now, from two looks at what the programs count.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    args::{Form, Top, TopSort},
    frontends::{Frontend, Stats},
    get::{self, API_VERSION, ServicePort, book, columns},
    output::{Reader, write},
    state::state_dir,
};
use crate::{maps::dir::BpfDir, names::NameFiles};

/// Between two looks at least: rates of less mean nothing.
const SHORTEST: Duration = Duration::from_millis(100);

/// Clears a terminal and goes to its first line (ECMA-48: ED, CUP).
pub(super) const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// What was counted for a Service port until now.
#[derive(Clone, Default)]
struct Counted {
    stats: Stats,
    /// Open connections by backend.
    active: BTreeMap<u32, u64>,
    service: Option<ServicePort>,
}

/// A Service port between two looks.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rates {
    /// Of a Service whose name is known.
    service: Option<ServicePort>,
    /// The first frontend of one whose name is not.
    frontend: Option<String>,
    protocol: String,
    connections_per_second: f64,
    active_connections: u64,
    packets_per_second: f64,
    bytes_per_second: f64,
    rejects_per_second: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    api_version: &'static str,
    kind: &'static str,
    items: &'a [Rates],
}

/// By protocol and name.
type All = BTreeMap<(String, String), Counted>;

/// Columns of the table.
pub(super) const HEAD: [&str; 7] = [
    "SERVICE",
    "PROT",
    "CONN/S",
    "ACTIVE",
    "PACKETS/S",
    "BYTES/S",
    "REJECTS/S",
];

/// Carries the verb out.
pub fn run(args: &Top) -> Result<()> {
    let dir = BpfDir::at(args.pins.dir());
    let files = NameFiles::of(&state_dir(&args.state, &dir), dir.root());
    let look = || Ok::<All, anyhow::Error>(sums(&get::named(&dir, &book(&files))?));
    let (mut before, mut at) = (look()?, Instant::now());
    loop {
        thread::sleep(args.rates.interval.max(SHORTEST));
        let (now, then) = (look()?, Instant::now());
        let mut rates = between(&before, &now, (then - at).as_secs_f64());
        sort(&mut rates, args.rates.sort_by);
        if let Some(namespace) = &args.rates.namespace {
            rates.retain(|r| {
                r.service
                    .as_ref()
                    .is_some_and(|s| s.namespace == *namespace)
            });
        }
        let text = show(&rates, args.rates.output)?;
        let is_screen =
            !args.rates.once && args.rates.output == Form::Table && std::io::stdout().is_terminal();
        let text = if is_screen {
            CLEAR.to_owned() + &text
        } else {
            text
        };
        if write(&text)? == Reader::HasLeft || args.rates.once {
            return Ok(());
        }
        (before, at) = (now, then);
    }
}

/// Sums over all frontends, families and policies of a Service port.
fn sums(frontends: &[Frontend]) -> All {
    let (mut all, mut seen) = (All::new(), BTreeSet::new());
    for f in frontends {
        let name = match &f.service {
            Some(service) => service.to_string(),
            None => format!("{}:{}", f.address, f.port),
        };
        let of = all.entry((f.protocol.clone(), name)).or_default();
        of.service.clone_from(&f.service);
        for scope in &f.scopes {
            // Several frontends lead to one pool.
            if seen.insert(scope.pool) {
                let (sum, more) = (&mut of.stats, scope.stats);
                sum.connections += more.connections;
                sum.packets += more.packets;
                sum.bytes += more.bytes;
                sum.rejects += more.rejects;
            }
        }
        let active = f.backends.iter().map(|b| (b.id, b.active_connections));
        of.active.extend(active);
    }
    all
}

fn between(before: &All, now: &All, seconds: f64) -> Vec<Rates> {
    // What was not there at the first look may have counted for long.
    let rates = now.iter().filter_map(|(key, counted)| {
        let (protocol, name) = key;
        let was = before.get(key)?.stats;
        #[expect(
            clippy::cast_precision_loss,
            reason = "what is counted in seconds is far below 2^52"
        )]
        let rate = |now: u64, was: u64| now.saturating_sub(was) as f64 / seconds;
        let is_known = counted.service.is_some();
        Some(Rates {
            service: counted.service.clone(),
            frontend: (!is_known).then(|| name.clone()),
            protocol: protocol.clone(),
            connections_per_second: rate(counted.stats.connections, was.connections),
            active_connections: counted.active.values().sum(),
            packets_per_second: rate(counted.stats.packets, was.packets),
            bytes_per_second: rate(counted.stats.bytes, was.bytes),
            rejects_per_second: rate(counted.stats.rejects, was.rejects),
        })
    });
    rates.collect()
}

/// The most first.
fn sort(rates: &mut [Rates], by: TopSort) {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let value = |r: &Rates| match by {
        TopSort::Connections => r.connections_per_second,
        TopSort::Active => r.active_connections as f64,
        TopSort::Packets => r.packets_per_second,
        TopSort::Bytes => r.bytes_per_second,
        TopSort::Rejects => r.rejects_per_second,
    };
    rates.sort_by(|a, b| value(b).total_cmp(&value(a)));
}

fn show(rates: &[Rates], output: Form) -> Result<String> {
    if output == Form::Json {
        let list = List {
            api_version: API_VERSION,
            kind: "RateList",
            items: rates,
        };
        return Ok(serde_json::to_string(&list).context("encode JSON")? + "\n");
    }
    let rows = rates.iter().map(|r| {
        let name = r.service.as_ref().map(ToString::to_string);
        let number = |n: f64| format!("{n:.1}");
        vec![
            columns::word(name.as_ref().or(r.frontend.as_ref())),
            r.protocol.clone(),
            number(r.connections_per_second),
            r.active_connections.to_string(),
            number(r.packets_per_second),
            number(r.bytes_per_second),
            number(r.rejects_per_second),
        ]
    });
    Ok(columns::borderless(&HEAD, rows.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(connections: u64) -> Counted {
        Counted {
            stats: Stats {
                connections,
                ..Stats::default()
            },
            active: BTreeMap::from([(1, 2), (2, 3)]),
            service: None,
        }
    }

    #[test]
    fn rates_are_differences_by_time_and_the_most_is_first() {
        let key = |name: &str| ("TCP".to_owned(), name.to_owned());
        let before = All::from([(key("a"), counted(10)), (key("b"), counted(10))]);
        let now = All::from([
            (key("a"), counted(14)),
            (key("b"), counted(30)),
            (key("c"), counted(50_000)),
        ]);
        let mut rates = between(&before, &now, 2.0);
        sort(&mut rates, TopSort::Connections);
        let found: Vec<(Option<&str>, f64, u64)> = rates
            .iter()
            .map(|r| {
                (
                    r.frontend.as_deref(),
                    r.connections_per_second,
                    r.active_connections,
                )
            })
            .collect();
        // The new one has a rate from the next look on.
        assert_eq!(found, [(Some("b"), 10.0, 5), (Some("a"), 2.0, 5)]);
        // A pool that begins anew counts nothing for once.
        assert!(between(&now, &before, 2.0)[0].connections_per_second.abs() < 0.1);
    }
}
