//! How each view is written.

use std::collections::BTreeMap;

use crate::{
    cli::get::{
        columns::word,
        levels::{Columns, Levels},
        listing::{Headers, Width},
        services::about,
    },
    inventory::{
        Frontend, Member, Stats,
        rates::{self, PerSecond},
    },
};

/// The lower threshold, in ipvsadm's words: a backend that was full gets connections again with the
/// first that ends.
const LOWER: u64 = 0;

/// What was counted until now.
pub(super) fn stats(all: &[&Frontend], headers: Headers) -> String {
    let heads = ["Conns", "Packets", "Bytes", "Rejects"];
    counted(all, headers, heads, |f| {
        let Stats {
            connections,
            packets,
            bytes,
            rejects,
        } = f.stats();
        Some([connections, packets, bytes, rejects].map(|n| n.to_string()))
    })
}

/// What is counted in a second, since a look so many seconds ago.
pub(super) fn rate(
    all: &[&Frontend],
    headers: Headers,
    before: &BTreeMap<u32, Stats>,
    seconds: f64,
) -> String {
    let heads = ["CPS", "PPS", "BPS", "Rejects/s"];
    counted(all, headers, heads, |f| {
        let PerSecond {
            connections,
            packets,
            bytes,
            rejects,
        } = rates::of(f, before, seconds)?;
        Some([connections, packets, bytes, rejects].map(|n| format!("{n:.1}")))
    })
}

/// Numbers of frontends. Of a backend alone nothing is counted.
fn counted(
    all: &[&Frontend],
    headers: Headers,
    [a, b, c, d]: [&str; 4],
    numbers: impl Fn(&Frontend) -> Option<[String; 4]>,
) -> String {
    let unknown = || ["-"; 4].map(str::to_owned);
    let line = |numbers: [String; 4], pools: String, name: String| {
        let numbers = numbers.into_iter();
        numbers.chain([pools, name]).collect::<Vec<String>>()
    };
    let levels = Levels {
        heads: [
            &[a, b, c, d, "Pool", "Service"],
            &["", "", "", "", "", "Pod"],
        ],
        columns: Columns::Shared,
        frontend: &|f| {
            let pools = f.pools().into_iter().map(|s| s.pool.to_string());
            let pools: Vec<String> = pools.collect();
            let service = f.service.as_ref().map(ToString::to_string);
            let numbers = numbers(f).unwrap_or_else(unknown);
            line(numbers, pools.join(","), word(service.as_ref()))
        },
        backend: &|_, b| line(unknown(), "-".to_owned(), word(b.place.pod.as_ref())),
    };
    levels.table(all, headers)
}

/// How many connections each backend may have, and has.
pub(super) fn thresholds(all: &[&Frontend], headers: Headers) -> String {
    let heads = ["Uthreshold", "Lthreshold", "ActiveConn", "InActConn", "Pod"];
    of_backends(all, headers, heads, |f, b| {
        [
            u64::from(f.max_connections),
            LOWER,
            b.active_connections,
            b.inactive_connections,
        ]
    })
}

/// How many clients each backend keeps: `kept` is by pool and backend.
pub(super) fn persistent(
    all: &[&Frontend],
    headers: Headers,
    kept: &BTreeMap<(u32, u32), u64>,
) -> String {
    let heads = ["Weight", "PersistConn", "ActiveConn", "InActConn", "Pod"];
    of_backends(all, headers, heads, |f, b| {
        let pools = f.pools().into_iter();
        let clients = pools.filter_map(|s| kept.get(&(s.pool, b.id))).sum();
        let weight = u64::from(b.weight);
        [
            weight,
            clients,
            b.active_connections,
            b.inactive_connections,
        ]
    })
}

/// Numbers of backends.
fn of_backends(
    all: &[&Frontend],
    headers: Headers,
    heads: [&str; 5],
    numbers: impl Fn(&Frontend, &Member) -> [u64; 4],
) -> String {
    let levels = Levels {
        heads: [&["Scheduler", "Service", "Flags"], &heads],
        columns: Columns::OfEach,
        frontend: &|f| about(f, Width::Normal),
        backend: &|f, b| {
            let numbers = numbers(f, b).into_iter().map(|n| n.to_string());
            numbers.chain([word(b.place.pod.as_ref())]).collect()
        },
    };
    levels.table(all, headers)
}

#[cfg(test)]
mod tests;
