//! Flows with real sockets, and many of them: one tuple has one owner, and no client loses its
//! connection to another's. `cargo xtask test` plays each case small, `cargo xtask soak` with the
//! numbers of a busy node.

mod crowds;
mod direct;
mod everything;
mod floods;
mod forgotten;
mod masqueraded;
mod netfilter;
mod own_ports;
mod reused;

use std::{
    env,
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_agent::maps::{
    dir::BpfDir,
    pinned::{Access, HashPin},
    stats::Stats,
    table::HashTable as _,
};
use lb_common::{
    flow::{Flow, FlowKey},
    maps::MapSpec,
};
use testbed::{
    addr::{self, Both},
    agent::{CHANGE, Start},
    host::Host,
    lan::Offloads,
    manifest::{Endpoint, Service},
    matrix::{Hook, matrix},
    node::{Node, PodNetwork},
    one_node::PORT,
    poll,
    probe::{CrowdPlan, Ending, Family, Kind, Probe, Tally},
    two_nodes::TwoNodes,
};

/// Where the backends of these tests listen.
const TARGET: u16 = 9090;
/// How long the slowest crowd may take.
const TURN: Duration = Duration::from_mins(3);

/// As many as the suite has time for, or as many as `cargo xtask soak` is asked to show.
fn sized(suite: u32, soak: u32) -> u32 {
    if env::var_os("LB_TEST_SOAK").is_some() {
        soak
    } else {
        suite
    }
}

/// A Service with one backend.
struct Place {
    name: &'static str,
    /// Its cluster IP and its load balancer's address are this one's of the plan.
    number: u8,
    node_port: u16,
    /// Where the backend listens, whoever is asked for it.
    backend: Both,
}

impl Place {
    fn direct(&self, family: Family) -> SocketAddr {
        self.backend.at(family, TARGET)
    }

    fn node_port(&self, bed: &TwoNodes, family: Family) -> SocketAddr {
        bed.near.addr().at(family, self.node_port)
    }

    fn cluster_ip(&self, family: Family) -> SocketAddr {
        addr::vip(self.number).at(family, PORT)
    }

    fn load_balancer(&self, family: Family) -> SocketAddr {
        addr::lb(self.number).at(family, PORT)
    }
}

/// Two nodes, and behind the first one's node ports one pod and one process of each.
struct Bed {
    nodes: TwoNodes,
    local: Place,
    remote: Place,
    local_host: Place,
    remote_host: Place,
    /// Beside the places' own: a process may not have as many files as there are connections.
    more_servers: Vec<Probe>,
}

impl Bed {
    fn new(network: PodNetwork, hook: Hook) -> Result<Self> {
        Self::with(network, hook.start())
    }

    fn with(network: PodNetwork, agent: Start) -> Result<Self> {
        let nodes = TwoNodes::new(network, Offloads::On, agent)?;
        // Ports that the kernel chooses are none of those that tests choose.
        let kernels = [("net/ipv4/ip_local_port_range", "61000 65535")];
        nodes.client.netns().sysctls(&kernels)?;
        let place = |name, number, backend| Place {
            name,
            number,
            node_port: 30_000 + u16::from(number),
            backend,
        };
        let (near, far) = (&nodes.near, &nodes.far);
        let mut bed = Self {
            local: place("a-local-pod", 11, near.pod(0).addr()),
            remote: place("a-remote-pod", 12, far.pod(0).addr()),
            local_host: place("a-local-process", 13, near.addr()),
            remote_host: place("a-remote-process", 14, far.addr()),
            more_servers: Vec::new(),
            nodes,
        };
        let mut more_servers = Vec::new();
        for (place, node, host) in bed.all() {
            let more = Probe::start(host.sandbox())?;
            for kind in [Kind::Tcp, Kind::Udp] {
                let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, TARGET));
                host.listen_crowd(kind, any, place.name)?;
                more.listen_crowd(kind, any, place.name)?;
            }
            more_servers.push(more);
            let endpoint = Endpoint {
                pod: place.name.to_owned(),
                addr: place.backend,
                node: node.name().to_owned(),
                ready: true,
                serving: true,
                terminating: false,
            };
            let service = Service::new(place.name, addr::vip(place.number))
                .node_port(PORT, TARGET, place.node_port)
                .ingress(addr::lb(place.number))
                .endpoints([endpoint]);
            bed.nodes.apply(&service)?;
            bed.nodes.route_to_near(addr::lb(place.number))?;
        }
        bed.more_servers = more_servers;
        bed.wait_for_node_ports()?;
        Ok(bed)
    }

    fn all(&self) -> [(&Place, &Node, &Host); 4] {
        let (near, far) = (&self.nodes.near, &self.nodes.far);
        [
            (&self.local, near, near.pod(0).host()),
            (&self.remote, far, far.pod(0).host()),
            (&self.local_host, near, &**near),
            (&self.remote_host, far, &**far),
        ]
    }

    fn wait_for_node_ports(&self) -> Result<()> {
        for (place, ..) in self.all() {
            for case in matrix() {
                let to = place.node_port(&self.nodes, case.family);
                poll::until(CHANGE, "the node port answers", || {
                    Ok(Some(self.nodes.client.ask(case.kind, to)?))
                })?;
            }
        }
        Ok(())
    }

    /// What the first node's programs have counted.
    fn counted(&self) -> Result<String> {
        let reasons = Stats::open(&BpfDir::at(self.nodes.near.bpf_dir()))?.reasons()?;
        let counted = reasons.iter().filter(|(_, count)| *count > 0);
        Ok(counted.fold(String::new(), |text, (reason, count)| {
            format!("{text}{}: {count}\n", reason.name())
        }))
    }

    /// What the first node holds in a map of flows.
    fn entries(&self, map: MapSpec) -> Result<Vec<(FlowKey, Flow)>> {
        let dir = BpfDir::at(self.nodes.near.bpf_dir());
        let flows: HashPin<FlowKey, Flow> = HashPin::open(&dir, map, Access::Read)?;
        Ok(flows.entries()?)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // A test shows it only if it fails.
        let counted = self.counted();
        let text = counted.unwrap_or_else(|error| format!("nothing: {error:#}"));
        eprintln!("the first node has counted\n{text}");
    }
}

/// So many connections, opened as fast as they come, from these source ports.
fn plan(kind: Kind, to: SocketAddr, count: u32, ports: Option<(u16, u16)>) -> CrowdPlan {
    CrowdPlan {
        kind,
        to,
        count,
        per_second: 0,
        at_once: 32,
        ports,
        ending: Ending::Close,
    }
}

/// The same, from ports each of which is used once.
fn once(kind: Kind, to: SocketAddr, first: u16, count: u32) -> Result<CrowdPlan> {
    let ports = u16::try_from(count).context("more connections than ports")?;
    Ok(plan(kind, to, count, Some((first, ports))))
}

/// That every connection was answered, by this server.
fn all_answered(tally: &Tally, name: &str, what: &str) -> Result<()> {
    let right = tally.answers.get(name).copied().unwrap_or_default();
    ensure!(
        tally.attempts > 0 && right == tally.attempts,
        "{what}: {right} of {} were answered by {name}: {tally:?}",
        tally.attempts
    );
    Ok(())
}

/// Opens them, and waits until every one was answered by this server.
fn play(client: &Host, plan: CrowdPlan, name: &str, what: &str) -> Result<()> {
    let tally = client.crowd(plan)?.opened(TURN)?;
    all_answered(&tally, name, what)
}
