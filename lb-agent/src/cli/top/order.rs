//! What comes first.

use std::cmp::Ordering;

use crate::{cli::args::TopSort, inventory::rates::Rates};

/// What is sorted by; less than 0 if nobody knows.
fn value(r: &Rates, by: TopSort) -> f64 {
    let known = |value: Option<f64>| value.unwrap_or(-1.0);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    match by {
        TopSort::Connections => r.connections_per_second,
        TopSort::Active => r.active_connections as f64,
        TopSort::Packets => r.packets_per_second,
        TopSort::Bytes => r.bytes_per_second,
        TopSort::Rejects => r.rejects_per_second,
        TopSort::Rtt => known(r.round_trip_seconds),
        TopSort::Failures => known(r.connect_failures_per_second),
        TopSort::Retransmits => known(r.retransmits_per_second),
    }
}

/// The most first.
pub(super) fn sort(rates: &mut [Rates], by: TopSort) {
    rates.sort_by(|a, b| more(a, b, by));
}

/// Which of two has more.
pub(in crate::cli) fn more(a: &Rates, b: &Rates, by: TopSort) -> Ordering {
    value(b, by).total_cmp(&value(a, by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_is_first() {
        let rate = |name: &str, connections_per_second, active_connections| Rates {
            frontend: Some(name.to_owned()),
            protocol: "TCP".to_owned(),
            connections_per_second,
            active_connections,
            round_trip_seconds: (active_connections == 5).then_some(0.0),
            ..Rates::default()
        };
        let mut rates = [rate("a", 2.0, 5), rate("b", 10.0, 4)];
        sort(&mut rates, TopSort::Connections);
        assert_eq!(rates[0].frontend.as_deref(), Some("b"));
        sort(&mut rates, TopSort::Active);
        assert_eq!(rates[0].frontend.as_deref(), Some("a"));
        // What nobody knows is the least.
        sort(&mut rates, TopSort::Packets);
        sort(&mut rates, TopSort::Rtt);
        assert_eq!(rates[0].frontend.as_deref(), Some("a"));
    }
}
