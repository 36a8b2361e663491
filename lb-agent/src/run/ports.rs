//! Node ports whose numbers this machine uses otherwise: listeners that they hide, and the range
//! from which the kernel takes ports of its own connections. Pure, but for the two readers.

use std::{fs, net::IpAddr};

use anyhow::{Context as _, Result};
use lb_common::Proto;

use crate::{
    model::{Cluster, ObjectKey, ServiceType},
    observe::port_conflicts::{Hidden, PortConflicts},
    sockets::listeners::{self, Listener},
};

/// Where node ports answer.
pub(super) struct Answers<'a> {
    /// Addresses, each with its interface.
    pub(super) addresses: &'a [(IpAddr, u32)],
    /// Loopback, of IPv4 and of IPv6.
    pub(super) loopback: [bool; 2],
}

/// One node port of a Service.
struct NodePort {
    service: ObjectKey,
    proto: Proto,
    number: u16,
}

/// Ports of the machine.
struct Machine {
    listeners: Vec<Listener>,
    /// `net.ipv4.ip_local_port_range`, both ends included; it counts for IPv6 too.
    range: (u16, u16),
    /// `net.ipv4.ip_local_reserved_ports`: not taken from that range.
    reserved: Vec<(u16, u16)>,
}

/// Looks at the machine, if any Service has a node port.
pub(super) fn look(cluster: &Cluster, answers: &Answers<'_>) -> Result<PortConflicts> {
    let ports = node_ports(cluster);
    if ports.is_empty() {
        return Ok(PortConflicts::default());
    }
    let read = |name: &str| {
        let path = format!("/proc/sys/net/ipv4/{name}");
        fs::read_to_string(&path).with_context(|| format!("read {path}"))
    };
    let machine = Machine {
        listeners: listeners::all().context("list the sockets that listen")?,
        range: range(&read("ip_local_port_range")?).context("net.ipv4.ip_local_port_range")?,
        reserved: reserved(&read("ip_local_reserved_ports")?),
    };
    Ok(conflicts(&ports, &machine, answers))
}

fn node_ports(cluster: &Cluster) -> Vec<NodePort> {
    let with_node_ports = cluster
        .services()
        .filter(|service| service.kind != ServiceType::ClusterIp);
    let all = with_node_ports.flat_map(|service| {
        service.ports.iter().filter_map(|port| {
            Some(NodePort {
                service: service.key.clone(),
                proto: port.proto,
                number: port.node_port?.get(),
            })
        })
    });
    all.collect()
}

fn conflicts(ports: &[NodePort], machine: &Machine, answers: &Answers<'_>) -> PortConflicts {
    let Machine {
        listeners,
        range: (first, last),
        reserved,
    } = machine;
    let mut hidden = Vec::new();
    let mut in_range = Vec::new();
    for port in ports {
        let on_it = listeners
            .iter()
            .filter(|l| (l.proto, l.port) == (port.proto, port.number) && answers.on(l.addr));
        hidden.extend(on_it.map(|l| Hidden {
            service: port.service.clone(),
            listener: *l,
        }));
        let is_reserved = reserved
            .iter()
            .any(|(a, b)| (*a..=*b).contains(&port.number));
        if (first..=last).contains(&&port.number) && !is_reserved {
            in_range.push(port.number);
        }
    }
    hidden.sort_unstable();
    hidden.dedup();
    in_range.sort_unstable();
    in_range.dedup();
    PortConflicts {
        hidden,
        in_range,
        range: (*first, *last),
    }
}

impl Answers<'_> {
    /// Whether a socket bound to this address loses packets to node ports of its number.
    fn on(&self, addr: IpAddr) -> bool {
        if addr.is_unspecified() {
            return true;
        }
        if addr.is_loopback() {
            return self.loopback[usize::from(addr.is_ipv6())];
        }
        self.addresses.iter().any(|(ip, _)| *ip == addr)
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let mut ends = text.split_whitespace().map(str::parse);
    Some((ends.next()?.ok()?, ends.next()?.ok()?))
}

/// Such as `8080,30000-32767`.
fn reserved(text: &str) -> Vec<(u16, u16)> {
    let parts = text.trim().split(',');
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    parts.filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(proto: Proto, number: u16) -> NodePort {
        NodePort {
            service: ObjectKey::new("default", "web"),
            proto,
            number,
        }
    }

    fn listener(proto: Proto, addr: &str, port: u16) -> Listener {
        Listener {
            proto,
            addr: addr.parse().unwrap(),
            port,
        }
    }

    #[test]
    fn a_listener_is_hidden_where_node_ports_answer() {
        let addresses = [("198.51.100.7".parse().unwrap(), 2)];
        let answers = Answers {
            addresses: &addresses,
            loopback: [true, false],
        };
        let hidden = |proto, addr: &str, number| {
            let machine = Machine {
                listeners: vec![listener(proto, addr, number)],
                range: (32768, 60999),
                reserved: Vec::new(),
            };
            let ports = [port(Proto::Tcp, 30080)];
            let found = conflicts(&ports, &machine, &answers);
            assert!(found.in_range.is_empty());
            found.hidden.len() == 1
        };
        for addr in ["0.0.0.0", "::", "198.51.100.7", "127.0.0.1"] {
            assert!(hidden(Proto::Tcp, addr, 30080), "{addr}");
            assert!(!hidden(Proto::Udp, addr, 30080), "{addr}: another protocol");
            assert!(!hidden(Proto::Tcp, addr, 30081), "{addr}: another port");
        }
        for addr in ["::1", "198.51.100.8", "fe80::1"] {
            assert!(!hidden(Proto::Tcp, addr, 30080), "{addr}");
        }
    }

    #[test]
    fn node_ports_in_the_local_range_are_found_unless_they_are_reserved() {
        let answers = Answers {
            addresses: &[],
            loopback: [false; 2],
        };
        let found = |reserved: &str| {
            let machine = Machine {
                listeners: Vec::new(),
                range: range("30000\t30100\n").unwrap(),
                reserved: super::reserved(reserved),
            };
            let ports = [29999, 30000, 30100, 30101, 30000].map(|n| port(Proto::Udp, n));
            conflicts(&ports, &machine, &answers).in_range
        };
        assert_eq!(found("\n"), [30000, 30100]);
        assert_eq!(found("8080,30050-32767\n"), [30000]);
        assert_eq!(found("30000,30100\n"), [0; 0]);
    }
}
