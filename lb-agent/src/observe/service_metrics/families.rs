//! How what Service ports have counted is written down: names, meanings, labels.

use std::{collections::BTreeMap, fmt};

use lb_common::{Proto, tcp::limit_us};
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::sums::{Counts, Sum};
use crate::maps::tcp::TcpCounts;

/// A family of counters: its name, its meaning, the part of the counts that it shows, and of which
/// ports.
struct Family {
    name: &'static str,
    help: &'static str,
    of: fn(&Counts) -> u64,
    ports: Ports,
}

/// Which ports a family has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ports {
    All,
    Tcp,
}

const FAMILIES: [Family; 6] = [
    Family {
        name: "service_connections",
        help: "Connections given a backend, by Service port",
        of: |c| c.stats.connections,
        ports: Ports::All,
    },
    Family {
        name: "service_packets",
        help: "Packets of the packet path, by Service port; what sockets send on is not seen",
        of: |c| c.stats.packets,
        ports: Ports::All,
    },
    Family {
        name: "service_bytes",
        help: "Bytes of the packet path, by Service port; what sockets send on is not seen",
        of: |c| c.stats.bytes,
        ports: Ports::All,
    },
    Family {
        name: "service_rejects",
        help: "Connections and packets refused or dropped, by Service port",
        of: |c| c.stats.rejects,
        ports: Ports::All,
    },
    Family {
        name: "service_connect_failures",
        help: "Connects of this node's sockets that a backend refused or did not answer, by Service port",
        of: |c| c.tcp.failures,
        ports: Ports::Tcp,
    },
    Family {
        name: "service_retransmits",
        help: "Segments that this node's sockets sent once more, by Service port",
        of: |c| c.tcp.retransmits,
        ports: Ports::Tcp,
    },
];

/// Every family, of these sums.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, sums: &[Sum]) -> fmt::Result {
    for Family {
        name,
        help,
        of,
        ports,
    } in FAMILIES
    {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for sum in sums.iter().filter(|sum| has(ports, sum)) {
            ConstCounter::new(of(&sum.total)).encode(family.encode_family(&labels(sum))?)?;
        }
    }
    let mut family = encoder.encode_descriptor(
        "service_active_connections",
        "Connections open now to the backends of a Service port, of sockets and flows of this node",
        None,
        MetricType::Gauge,
    )?;
    for sum in sums {
        gauge(sum.active).encode(family.encode_family(&labels(sum))?)?;
    }
    let mut family = encoder.encode_descriptor(
        "service_rtt",
        "Round trip times of handshakes of this node's sockets, by Service port that had any",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    let used = |sum: &&Sum| sum.total.tcp.handshakes() > 0;
    for sum in sums.iter().filter(used) {
        let TcpCounts {
            rtt, rtt_sum_us, ..
        } = sum.total.tcp;
        let limits = (0..).map(|i| limit_us(i).map_or(f64::INFINITY, |us| f64::from(us) / 1e6));
        let buckets: Vec<(f64, u64)> = limits.zip(rtt).collect();
        #[expect(clippy::cast_precision_loss, reason = "285 years are below 2^53 µs")]
        let seconds = rtt_sum_us as f64 / 1e6;
        family
            .encode_family(&labels(sum))?
            .encode_histogram::<NoLabelSet>(seconds, sum.total.tcp.handshakes(), &buckets, None)?;
    }
    Ok(())
}

/// How many backends there are, by zone and state.
pub(super) fn encode_backends(
    encoder: &mut DescriptorEncoder<'_>,
    sums: &BTreeMap<(&str, &'static str), i64>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(
        "backends",
        "Backends of Services, each once, by the zone of their node and by what they get: ready, spill, terminating, quarantined, draining",
        None,
        MetricType::Gauge,
    )?;
    for ((zone, state), count) in sums {
        let labels = [("zone", *zone), ("state", *state)];
        ConstGauge::new(*count).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauge(n: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(n).unwrap_or(i64::MAX))
}

fn has(ports: Ports, sum: &Sum) -> bool {
    ports == Ports::All || sum.protocol == Proto::Tcp
}

fn labels(sum: &Sum) -> [(&'static str, String); 4] {
    [
        ("namespace", sum.service.namespace.to_string()),
        ("service", sum.service.name.to_string()),
        ("port", sum.port.to_string()),
        ("protocol", sum.protocol.to_string()),
    ]
}
