//! Node ports whose numbers this machine uses otherwise: reported once in the log, as an Event on
//! the Service or the Node, and as metrics while it lasts.

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tracing::{info, warn};

use super::{
    events::{About, EventQueue, EventRequest},
    metrics::set,
    names,
    node_events::EventRecorder,
    once::Once,
};
use crate::{model::ObjectKey, sockets::listeners::Listener};

/// Ports that a text names.
const NAMED: usize = 5;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct PortConflicts {
    /// Sorted.
    pub(crate) hidden: Vec<Hidden>,
    /// Node ports that the kernel may give to connections of this machine, sorted.
    pub(crate) in_range: Vec<u16>,
    /// `net.ipv4.ip_local_port_range`.
    pub(crate) range: (u16, u16),
}

/// A listener of this machine whose packets a Service takes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Hidden {
    /// The Service.
    pub(crate) service: ObjectKey,
    /// The socket.
    pub(crate) listener: Listener,
}

/// How many there are.
#[derive(Debug)]
pub(crate) struct PortMetrics {
    hidden: Gauge,
    in_range: Gauge,
}

impl PortMetrics {
    /// Registers them.
    pub(crate) fn new(r: &mut Registry) -> Self {
        let (hidden, in_range) = (Gauge::default(), Gauge::default());
        r.register(
            names::HIDDEN_LISTENERS,
            "Listening sockets of this machine whose packets a node port takes",
            hidden.clone(),
        );
        r.register(
            names::NODE_PORTS_IN_LOCAL_RANGE,
            "Node ports within net.ipv4.ip_local_port_range that are not reserved",
            in_range.clone(),
        );
        Self { hidden, in_range }
    }
}

/// Reports what is new.
#[derive(Debug)]
pub(crate) struct PortReporter {
    events: EventQueue,
    recorder: EventRecorder,
    metrics: PortMetrics,
    hidden: Once<Hidden>,
    /// Ports in the range, and the range.
    overlap: Once<(Vec<u16>, (u16, u16))>,
}

impl PortReporter {
    /// Nothing is known yet.
    pub(crate) fn new(events: EventQueue, recorder: EventRecorder, metrics: PortMetrics) -> Self {
        Self {
            events,
            recorder,
            metrics,
            hidden: Once::default(),
            overlap: Once::default(),
        }
    }

    /// What was found now.
    pub(crate) fn found(&mut self, now: PortConflicts) {
        let PortConflicts {
            hidden,
            in_range,
            range,
        } = now;
        set(&self.metrics.hidden, hidden.len());
        set(&self.metrics.in_range, in_range.len());
        let (appeared, gone) = self.hidden.update(hidden);
        for hidden in appeared {
            self.hidden(hidden);
        }
        for Hidden { service, listener } in gone {
            info!(%service, listener = %place(&listener), "the node port hides this listener no more");
        }
        let overlap = (!in_range.is_empty()).then_some((in_range, range));
        let (appeared, _) = self.overlap.update(overlap);
        for (ports, (first, last)) in appeared {
            let text = format!(
                "net.ipv4.ip_local_port_range {first}-{last} contains node ports ({}): a connection of this node that gets one as its source port may lose its answers to the Service; move the range, or add the node ports to net.ipv4.ip_local_reserved_ports",
                named(&ports)
            );
            warn!("{text}");
            self.recorder
                .node("LocalPortRangeOverlaps", "Program", "", text);
        }
    }

    fn hidden(&self, Hidden { service, listener }: Hidden) {
        let listener = place(&listener);
        warn!(%service, listener, "a process of this node listens on a node port: the Service takes its packets");
        let text = format!(
            "a process of the node listens on {listener}, which is a node port of this Service: the Service takes what is sent there; `ss -lntup` shows the process: move it, or choose another nodePort"
        );
        self.events.push(EventRequest {
            about: About::Service(service),
            reason: "ListenerHidden",
            action: "Program",
            text,
        });
    }
}

fn place(listener: &Listener) -> String {
    let at = std::net::SocketAddr::new(listener.addr, listener.port);
    format!("{} {at}", listener.proto)
}

fn named(ports: &[u16]) -> String {
    let first: Vec<String> = ports.iter().take(NAMED).map(u16::to_string).collect();
    match ports.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use lb_common::Proto;

    use super::*;

    #[test]
    fn each_conflict_is_requested_once() {
        let (queue, mut requests) = EventQueue::new(9);
        let recorder = EventRecorder::new(queue.clone());
        let metrics = PortMetrics::new(&mut Registry::default());
        let mut reporter = PortReporter::new(queue, recorder, metrics);
        let found = PortConflicts {
            hidden: vec![Hidden {
                service: ObjectKey::new("default", "web"),
                listener: Listener {
                    proto: Proto::Tcp,
                    addr: "::".parse().unwrap(),
                    port: 30080,
                },
            }],
            in_range: (30080..30087).collect(),
            range: (30000, 30100),
        };
        for _ in 0..2 {
            reporter.found(found.clone());
        }
        let texts: Vec<(&str, String)> = std::iter::from_fn(|| requests.try_recv().ok())
            .map(|request| (request.reason, request.text))
            .collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].0 == "ListenerHidden" && texts[0].1.contains("TCP [::]:30080"));
        assert!(texts[1].1.contains("30084 and 2 more"), "{texts:?}");
        assert_eq!(reporter.metrics.in_range.get(), 7);
        reporter.found(PortConflicts::default());
        assert_eq!(reporter.metrics.hidden.get(), 0);
    }
}
