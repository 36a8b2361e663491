//! The rows, by noun.

mod affinity;
mod age;
mod bounds;
mod extensions;
mod flows;
mod fragments;
mod icmp;
mod icmp_lb0;
mod icmp_quotes;
mod ip;
mod keys;
mod lb0;
mod link;
mod maps;
mod ports;
mod records;
mod sctp;
mod services;
mod sizes;
mod sources;
mod sums;
mod tcp;
mod tuples;

use crate::packet_table::row::Row;

/// All of them.
pub(crate) fn all() -> Vec<Row> {
    [
        flows::rows(),
        services::rows(),
        tcp::rows(),
        sctp::rows(),
        ports::rows(),
        ip::rows(),
        extensions::rows(),
        link::rows(),
        fragments::rows(),
        sizes::rows(),
        sums::rows(),
        sources::rows(),
        icmp::rows(),
        icmp_quotes::rows(),
        icmp_lb0::rows(),
        lb0::rows(),
        records::rows(),
        affinity::rows(),
        age::rows(),
        bounds::rows(),
        keys::rows(),
        tuples::rows(),
        maps::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
