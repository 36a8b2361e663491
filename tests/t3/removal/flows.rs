//! Flows of the packet path: the program that finds its backend gone resets both sides.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lb_agent::maps::{
    dir::BpfDir,
    pinned::{Access, ArrayPin},
    table::ArrayTable as _,
};
use lb_common::maps;
use testbed::{
    addr::{self, LOOPBACK},
    agent::{CHANGE, Start},
    agent_output,
    host::Host,
    lan::Offloads,
    manifest::{Endpoint, Service},
    matrix::{each, families, hooks},
    node::{Node, PodNetwork},
    one_node::{PORT, TARGET},
    poll,
    probe::{Family, Kind, Sock},
    two_nodes::{LOCAL, REMOTE, TwoNodes},
};

use super::{POLICY, go_on, is_end, open_at};
use crate::lb0::common::{routed, without_sockets};

const NODE_PORT: u16 = 30061;
const VIP: testbed::addr::Both = addr::vip(61);

fn service(policy: &str, endpoints: Vec<Endpoint>) -> Service {
    Service::new("kept", VIP)
        .node_port(PORT, TARGET, NODE_PORT)
        .annotate(POLICY, policy)
        .endpoints(endpoints)
}

/// Both nodes' pods, or those of each but its first.
fn endpoints(bed: &TwoNodes, without_first: bool) -> Vec<Endpoint> {
    let of = |node: &Node| bed.endpoints(node)[usize::from(without_first)..].to_vec();
    [of(&bed.near), of(&bed.far)].concat()
}

/// Connections of a client, by the pod that answers.
type Held = BTreeMap<String, Vec<(Sock, String)>>;

fn held(client: &Host, to: &[SocketAddr]) -> Result<Held> {
    held_by(to, |to| client.connect(Kind::Tcp, to))
}

/// The same, of a client that connects so.
fn held_by(to: &[SocketAddr], connect: impl Fn(SocketAddr) -> io::Result<Sock>) -> Result<Held> {
    let mut held = Held::new();
    for to in to {
        poll::until(CHANGE, "the service answers", || {
            Ok(connect(*to).and_then(|sock| sock.ask("first")).ok())
        })?;
        // Until each of the four has some of this address, which one in a few hundred times takes more.
        let mut answered = BTreeSet::new();
        for opened in 0.. {
            if opened >= 24 && answered.len() == 4 {
                break;
            }
            ensure!(
                opened < 240,
                "{to}: all of {opened} were answered by {answered:?}"
            );
            let sock = connect(*to)?;
            let name = sock.ask("before")?.name;
            answered.insert(name.clone());
            held.entry(name.clone()).or_default().push((sock, name));
        }
    }
    Ok(held)
}

/// Takes the first pod of each node out of the Service.
fn leave(bed: &TwoNodes, policy: &str) -> Result<Instant> {
    bed.apply(&service(policy, endpoints(bed, true)))?;
    let pod = bed.near.pod(0).addr().v4.to_string();
    poll::until_true(CHANGE, "they have no more of new connections", || {
        let found = agent_output::frontend(&bed.near, "TCP", &VIP.v4.to_string(), PORT)?;
        let serves = |b: &agent_output::Backend| b.address == pod && b.state == "ready";
        Ok(!found.backends.iter().any(serves))
    })?;
    Ok(Instant::now())
}

/// Both sides of every connection to a pod that left have ended; the client has sent one packet more
/// on each, so that the programs see it. The others go on.
fn ends(bed: &TwoNodes, held: &Held) -> Result<()> {
    for (node, name) in [(&bed.near, LOCAL[0]), (&bed.far, REMOTE[0])] {
        let ours = &held[name];
        ensure!(open_at(node.pod(0))? >= ours.len());
        for (sock, _) in ours {
            poll::until_true(CHANGE, "the client is reset", || match sock.ask("after") {
                Ok(answer) => {
                    ensure!(answer.name == name, "{answer:?}");
                    Ok(false)
                }
                Err(error) if is_end(&error) => Ok(true),
                Err(error) => Err(error.into()),
            })?;
        }
        // No packet of the client's tells it: its socket is gone.
        poll::until_true(
            CHANGE,
            "the pod is reset",
            || Ok(open_at(node.pod(0))? == 0),
        )?;
    }
    go_on(held[LOCAL[1]].iter().chain(&held[REMOTE[1]]))
}

/// Flows of the pods that leave, as the near node counts them by backend.
struct Counted {
    counts: ArrayPin<u64>,
    ids: Vec<u32>,
}

fn counted_flows(bed: &TwoNodes) -> Result<Counted> {
    let dir = BpfDir::at(bed.near.bpf_dir());
    let counts = ArrayPin::open(&dir, maps::FLOW_COUNTS, Access::Read)?;
    let mut ids = Vec::new();
    for pod in [bed.near.pod(0), bed.far.pod(0)] {
        for family in families() {
            let backend = agent_output::backend(&bed.near, pod.addr().at(family, TARGET))?;
            ensure!(backend.active_connections > 0, "{backend:?}");
            ids.push(backend.id);
        }
    }
    Ok(Counted { counts, ids })
}

impl Counted {
    /// None of them is open any more; nobody had to repair that.
    fn are_over(&self) -> Result<()> {
        for id in &self.ids {
            poll::until_true(CHANGE, &format!("none of backend {id} is open"), || {
                // Those that are open stand in the low half.
                Ok(self.counts.load(*id)? & u64::from(u32::MAX) == 0)
            })?;
        }
        Ok(())
    }
}

#[test]
fn clients_outside_are_reset_and_their_backends_too() -> Result<()> {
    for network in each(PodNetwork::ALL) {
        for hook in hooks() {
            let bed = TwoNodes::new(network, Offloads::On, hook.start())?;
            bed.apply(&service("reset", endpoints(&bed, false)))?;
            let to: Vec<_> = families()
                .map(|family| bed.near.addr().at(family, NODE_PORT))
                .collect();
            let held = held(&bed.client, &to)?;
            let before = agent_output::counted(&bed.near, "pkt_reset")?;
            let counted = counted_flows(&bed)?;
            leave(&bed, "reset")?;
            ends(&bed, &held)?;
            counted.are_over()?;
            let expected = (held[LOCAL[0]].len() + held[REMOTE[0]].len()) as u64;
            poll::until_true(CHANGE, "each reset is counted", || {
                Ok(agent_output::counted(&bed.near, "pkt_reset")? - before >= expected)
            })?;
        }
    }
    Ok(())
}

#[test]
fn clients_over_lb0_are_reset_and_their_backends_too() -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, without_sockets())?;
    bed.apply(&service("reset", endpoints(&bed, false)))?;
    routed(&bed.near)?;
    let to: Vec<_> = families().map(|family| VIP.at(family, PORT)).collect();
    let held = held(&bed.near, &to)?;
    leave(&bed, "reset")?;
    ends(&bed, &held)
}

/// The copy that resets the client leaves by the tunnel: another program of ours runs at the egress of
/// what carries it, before the backend is reset.
#[test]
fn clients_over_a_tunnel_are_reset_and_their_backends_too() -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Flannel, Offloads::On, Start::new())?;
    bed.apply(&service("reset", endpoints(&bed, false)))?;
    let to: Vec<_> = families()
        .map(|family| addr::pod(1, 0).at(family, NODE_PORT))
        .collect();
    let held = held(bed.far.pod(1), &to)?;
    let counted = counted_flows(&bed)?;
    leave(&bed, "reset")?;
    ends(&bed, &held)?;
    counted.are_over()
}

/// Sockets that are bound to loopback are over `lb0` whatever `--socket-lb` says.
#[test]
fn clients_bound_to_loopback_are_reset_and_their_backends_too() -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, Start::new())?;
    bed.apply(&service("reset", endpoints(&bed, false)))?;
    routed(&bed.near)?;
    let to: Vec<_> = families()
        .map(|family| LOOPBACK.at(family, NODE_PORT))
        .collect();
    let held = held_by(&to, |to| {
        let sock = bed.near.socket(Kind::Tcp, Family::of(&to))?;
        sock.bind(LOOPBACK.at(Family::of(&to), 0))?;
        sock.connect(to)?;
        Ok(sock)
    })?;
    let before = agent_output::counted(&bed.near, "pkt_reset")?;
    leave(&bed, "reset")?;
    ends(&bed, &held)?;
    ensure!(agent_output::counted(&bed.near, "pkt_reset")? > before);
    Ok(())
}

#[test]
fn with_reset_after_they_have_that_long() -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, Start::new())?;
    bed.apply(&service("reset-after=4s", endpoints(&bed, false)))?;
    let to: Vec<_> = families()
        .map(|family| bed.near.addr().at(family, NODE_PORT))
        .collect();
    let held = held(&bed.client, &to)?;
    let left = leave(&bed, "reset-after=4s")?;
    while left.elapsed() < Duration::from_millis(2500) {
        go_on(held.values().flatten())?;
    }
    ends(&bed, &held)?;
    ensure!(left.elapsed() > Duration::from_millis(3500));
    Ok(())
}

#[test]
fn by_default_they_go_on() -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, Start::new())?;
    bed.apply(&service("keep", endpoints(&bed, false)))?;
    let to: Vec<_> = families()
        .map(|family| bed.near.addr().at(family, NODE_PORT))
        .collect();
    let held = held(&bed.client, &to)?;
    let left = leave(&bed, "keep")?;
    while left.elapsed() < Duration::from_secs(3) {
        go_on(held.values().flatten())?;
    }
    ensure!(agent_output::counted(&bed.near, "pkt_reset")? == 0);
    Ok(())
}
