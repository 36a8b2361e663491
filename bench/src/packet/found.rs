//! What the suite `packet` makes of its samples: costs, losses, bars.

use super::{
    REDIRECT, Row,
    kinds::{KINDS, MANY},
};
use crate::{
    bar::{Bar, Of},
    report::{Table, number},
    samples::Samples,
};

/// What a packet costs beyond being sent.
pub(super) fn marginal(samples: &Samples) -> Table {
    let lines = samples.rows.iter().enumerate().skip(1).map(|(row, name)| {
        let costs = (0..KINDS.len()).map(|metric| {
            let cost = |row| Some(1e6 / samples.spread(row, metric)?.median);
            match (cost(row), cost(0)) {
                (Some(this), Some(floor)) => format!("{this:.0} ({:.0})", this - floor),
                (Some(this), None) => format!("{this:.0}"),
                (None, _) => String::new(),
            }
        });
        std::iter::once(name.clone()).chain(costs).collect()
    });
    Table {
        title: "ns a packet, of the medians (and what of it is not the sending)".to_owned(),
        head: head(),
        lines: lines.collect(),
    }
}

/// The worst block of each.
pub(super) fn lost(rows: &[Row]) -> Table {
    let lines = rows.iter().map(|row| {
        let lost = row.lost.borrow();
        let cells = (0..KINDS.len()).map(|kind| {
            let of = lost.get(&kind);
            of.map_or_else(String::new, |lost| number(lost * 100.0))
        });
        std::iter::once(row.name.clone()).chain(cells).collect()
    });
    Table {
        title: "Packets that did not arrive, %, in the worst block".to_owned(),
        head: head(),
        lines: lines.collect(),
    }
}

fn head() -> Vec<&'static str> {
    let names = KINDS.iter().flat_map(|kind| kind.metrics);
    std::iter::once("row")
        .chain(names.map(|metric| metric.name))
        .collect()
}

/// In the order of their importance.
pub(super) fn bars(samples: &Samples) -> Vec<Bar> {
    let mut bars = Vec::new();
    let both = [("by XDP", 2.0), ("by tc", 1.3)];
    for (by, limit) in both {
        for mode in ["nftables", "iptables"] {
            for place in ["remote", "local"] {
                let (row, base) = (
                    format!("lb-agent {by}, {place}"),
                    format!("kube-proxy {mode}, {place}"),
                );
                let says = format!("{MANY}, {row}, over {base}");
                bars.push(Bar::at_least_times(
                    says,
                    Of::new(samples, MANY, &row, &base),
                    limit,
                ));
            }
        }
    }
    let says = format!("{MANY}, lb-agent by XDP, remote, over {REDIRECT}");
    let of = Of::new(samples, MANY, "lb-agent by XDP, remote", REDIRECT);
    bars.push(Bar::at_least_times(says, of, 0.6));
    bars
}
