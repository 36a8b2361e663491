//! Rates as words: the columns of every table, and the document.

use anyhow::Result;

use crate::{
    cli::{args::TopSort, get::columns, output::List},
    inventory::rates::Rates,
};

/// Columns of the table.
pub(in crate::cli) const HEAD: [&str; 10] = [
    "SERVICE",
    "PROT",
    "CONN/S",
    "ACTIVE",
    "PACKETS/S",
    "BYTES/S",
    "REJECTS/S",
    "RTT",
    "FAILED/S",
    "RETRANS/S",
];

/// What each column but the first two is sorted by.
pub(super) const SORTS: [TopSort; 8] = [
    TopSort::Connections,
    TopSort::Active,
    TopSort::Packets,
    TopSort::Bytes,
    TopSort::Rejects,
    TopSort::Rtt,
    TopSort::Failures,
    TopSort::Retransmits,
];

/// The cells of a row, in the order of [`HEAD`]. What nobody knows is `-`.
pub(in crate::cli) fn cells(r: &Rates) -> [String; 10] {
    let number = |n: f64| format!("{n:.1}");
    let known = |n: Option<f64>, shown: fn(f64) -> String| n.map_or_else(|| "-".to_owned(), shown);
    [
        columns::word(Some(&r.name())),
        r.protocol.clone(),
        number(r.connections_per_second),
        r.active_connections.to_string(),
        number(r.packets_per_second),
        number(r.bytes_per_second),
        number(r.rejects_per_second),
        known(r.round_trip_seconds, time),
        known(r.connect_failures_per_second, number),
        known(r.retransmits_per_second, number),
    ]
}

/// Seconds, in a unit that suits them.
fn time(seconds: f64) -> String {
    if seconds < 0.001 {
        format!("{:.0}µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1}ms", seconds * 1e3)
    } else {
        format!("{seconds:.1}s")
    }
}

/// For people.
pub(super) fn text(rates: &[Rates]) -> String {
    let rows = rates.iter().map(|r| cells(r).to_vec());
    columns::borderless(&HEAD, rows.collect())
}

/// For programs.
pub(super) fn json(rates: &[Rates]) -> Result<String> {
    List::new("RateList", rates).line()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_that_suits_them() {
        let all = [0.000_064, 0.000_999, 0.0201, 1.25].map(time);
        assert_eq!(all, ["64µs", "999µs", "20.1ms", "1.2s"]);
    }

    #[test]
    fn a_column_and_its_sort_stand_at_one_place() {
        assert_eq!(HEAD.len(), SORTS.len() + 2);
        let text = text(&[Rates::default()]);
        let mut lines = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(lines.next().unwrap(), HEAD);
        assert_eq!(
            lines.next().unwrap(),
            ["-", "-", "0.0", "0", "0.0", "0.0", "0.0", "-", "-", "-"]
        );
    }
}
