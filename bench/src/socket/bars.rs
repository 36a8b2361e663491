//! The promises of this suite, and what its rows are divided by.

use super::{
    DIRECT, DIRECT_V6, FIRST_PACKET, SENDTO, SPECIAL_AT, TCP_CONNECT, UDP_CONNECT, V6,
    rows::{missed, ours},
    traced,
};
use crate::{
    bar::{Bar, Of},
    report::Over,
    samples::Samples,
};

/// In the order of their importance.
pub(super) fn all(samples: &Samples, scales: &[u32]) -> Vec<Bar> {
    let most = scales.last().copied().unwrap_or_default();
    let (direct, few, many, not) = (DIRECT, ours(100), ours(most), missed(most));
    let mut bars = Vec::new();
    for &scale in scales {
        let (says, row) = (
            format!("TCP connect p50, VIP of {scale} services over direct"),
            ours(scale),
        );
        bars.push(Bar::at_most_times(
            says,
            Of::new(samples, TCP_CONNECT, &row, direct),
            1.05,
        ));
    }
    let (v6, says) = (
        format!("{}, {V6}", ours(SPECIAL_AT)),
        "TCP connect p50, IPv6 VIP over direct",
    );
    bars.push(Bar::at_most_times(
        says,
        Of::new(samples, TCP_CONNECT, &v6, DIRECT_V6),
        1.05,
    ));
    for metric in [UDP_CONNECT, FIRST_PACKET, SENDTO, TCP_CONNECT] {
        let says = format!("{metric}, {most} services over 100");
        bars.push(Bar::at_most_times(
            says,
            Of::new(samples, metric, &many, &few),
            1.25,
        ));
    }
    for metric in [UDP_CONNECT, FIRST_PACKET, SENDTO, TCP_CONNECT] {
        let says = format!("{metric}, not a VIP of {most} services over direct");
        bars.push(Bar::at_most_times(
            says,
            Of::new(samples, metric, &not, direct),
            1.02,
        ));
    }
    for metric in [UDP_CONNECT, FIRST_PACKET, TCP_CONNECT] {
        let says = format!("{metric}, trace off over programs without trace");
        bars.push(Bar::at_most_times(
            says,
            Of::new(samples, metric, traced::OFF, traced::WITHOUT),
            1.02,
        ));
    }
    for (says, row, limit) in [
        ("UDP connect, VIP less direct, ns", &many, 500.0),
        ("UDP connect, not a VIP less direct, ns", &not, 100.0),
    ] {
        let says = format!("{says} ({most} services)");
        bars.push(Bar::at_most_more(
            says,
            Of::new(samples, UDP_CONNECT, row, direct),
            limit,
        ));
    }
    bars
}

/// Each family over its own `direct`.
pub(super) fn over(samples: &Samples) -> Over {
    let v6 = samples.row(DIRECT_V6).unwrap_or_default();
    let bases = samples.rows.iter();
    Over {
        says: format!("over `{DIRECT}`, IPv6 over `{DIRECT_V6}`"),
        bases: bases
            .map(|name| if name.ends_with("IPv6") { v6 } else { 0 })
            .collect(),
    }
}
