//! The promises of this suite, and what its rows are divided by.

use lb_common::scheduler::Scheduler;

use super::{
    DIRECT, DIRECT_V6, FIRST_PACKET, SENDTO, TCP_CONNECT, UDP_CONNECT,
    rows::{missed, ours},
    special, traced,
};
use crate::{
    bar::{Bar, Of},
    report::Over,
    samples::Samples,
    services::{Class, MANY},
};

/// The same of those that count open connections.
const COUNTING: f64 = 1.3;

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
        special::name(Class::V6),
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
    bars.extend(schedulers(samples));
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

/// What each scheduler costs over `random`, and what a limit of connections does.
fn schedulers(samples: &Samples) -> Vec<Bar> {
    let default = Scheduler::default().name();
    let counted = Class::Limited;
    let mut bars = Vec::new();
    for metric in [UDP_CONNECT, TCP_CONNECT] {
        let mut add = |says: String, class, base, limit| {
            let (row, base) = (special::name(class), special::name(base));
            let says = format!("{metric}, {says} over {default}");
            bars.push(Bar::at_most_times(
                says,
                Of::new(samples, metric, &row, &base),
                limit,
            ));
        };
        let others = Scheduler::ALL
            .iter()
            .filter(|one| **one != Scheduler::default());
        for one in others {
            let (name, limit) = (one.name(), limit(*one));
            let (few, many) = (Class::Scheduler(name), Class::Many(name));
            add(name.to_owned(), few, Class::Scheduler(default), limit);
            let says = format!("{name} of {MANY} endpoints");
            add(says, many, Class::Many(default), limit);
        }
        let says = "random with max-connections".to_owned();
        add(says, counted, Class::Scheduler(default), COUNTING);
    }
    bars
}

/// Of a scheduler's cost over `random`.
const fn limit(scheduler: Scheduler) -> f64 {
    match scheduler {
        Scheduler::LeastConnections
        | Scheduler::WeightedLeastConnections
        | Scheduler::TwoChoices => COUNTING,
        _ => 1.1,
    }
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
