//! `lb-agent.io/max-connection-age`: who has pinned a few backends connects again, over each path.
//! What is shown of times are bounds that the annotation promises, which no load makes wrong.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use testbed::{
    addr,
    agent::{CHANGE, Start},
    agent_output,
    host::Host,
    lan::Offloads,
    manifest::{Endpoint, Service},
    matrix::{families, hooks},
    node::PodNetwork,
    one_node::{self, OneNode, PORT, TARGET},
    poll,
    probe::{Kind, Sock},
    two_nodes::TwoNodes,
};

use crate::{
    lb0::common::{routed, without_sockets},
    removal::{go_on, is_end},
};

const ANNOTATION: &str = "lb-agent.io/max-connection-age";
const AGE: Duration = Duration::from_secs(10);
/// Clients speak so often.
const PAUSE: Duration = Duration::from_millis(500);
/// Connections to each address.
const SOME: usize = 12;

/// Connections to it are ended for their age.
const AGING: addr::Both = addr::vip(71);
/// The same pods without a limit.
const LASTING: addr::Both = addr::vip(72);
/// A limit, and one pod.
const ALONE: addr::Both = addr::vip(73);
const NODE_PORTS: [u16; 3] = [30071, 30072, 30073];

fn services(pods: &[Endpoint]) -> Vec<Service> {
    let limited = |name, vip| Service::new(name, vip).annotate(ANNOTATION, "10s");
    let all = [
        (limited("aging", AGING), pods),
        (Service::new("lasting", LASTING), pods),
        (limited("alone", ALONE), &pods[..1]),
    ];
    let numbered = all.into_iter().zip(NODE_PORTS);
    let made = numbered.map(|((service, pods), node_port)| {
        let service = service.node_port(PORT, TARGET, node_port);
        service.endpoints(pods.to_vec())
    });
    made.collect()
}

/// Open connections of a client.
struct Held {
    aging: Vec<(Sock, String)>,
    /// To the Services beside it.
    others: Vec<(Sock, String)>,
    /// When the first one was opened.
    since: Instant,
}

/// Open connections to one address, by who answers.
fn some(client: &Host, to: SocketAddr) -> Result<Vec<(Sock, String)>> {
    poll::until(CHANGE, "the service answers", || {
        let sock = client.connect(Kind::Tcp, to);
        Ok(sock.and_then(|sock| sock.ask("first")).ok())
    })?;
    let open = (0..SOME).map(|_| {
        let sock = client.connect(Kind::Tcp, to)?;
        let name = sock.ask("before")?.name;
        Ok((sock, name))
    });
    open.collect()
}

impl Held {
    /// `to` are the addresses of the three Services.
    fn open(client: &Host, to: impl Iterator<Item = [SocketAddr; 3]>) -> Result<Self> {
        let since = Instant::now();
        let (mut aging, mut others) = (Vec::new(), Vec::new());
        for [old, lasting, alone] in to {
            aging.extend(some(client, old)?);
            others.extend(some(client, lasting)?);
            others.extend(some(client, alone)?);
        }
        Ok(Self {
            aging,
            others,
            since,
        })
    }

    /// Each connection to the first Service is reset once, not before its age and not all at one
    /// moment; a client that connects again goes on. The others stay.
    fn grow_old(mut self) -> Result<()> {
        let begun = Instant::now();
        let (mut first, mut last) = (None, None);
        // Half as old again, a look at sockets, units of ages.
        while !self.aging.is_empty() {
            ensure!(
                begun.elapsed() < poll::patient(AGE * 6),
                "{} are left",
                self.aging.len()
            );
            let mut open = Vec::new();
            for (sock, name) in self.aging {
                match sock.ask("still there?") {
                    Ok(answer) => {
                        ensure!(answer.name == name, "{answer:?} instead of {name}");
                        open.push((sock, name));
                    }
                    Err(error) if is_end(&error) => {
                        first.get_or_insert_with(|| self.since.elapsed());
                        last = Some(begun.elapsed());
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            self.aging = open;
            go_on(&self.others)?;
            thread::sleep(PAUSE);
        }
        let (Some(first), Some(last)) = (first, last) else {
            anyhow::bail!("there was none");
        };
        ensure!(first > AGE && last > AGE, "{first:?}, {last:?}");
        go_on(&self.others)
    }
}

#[test]
fn sockets_of_the_node_connect_again() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| services(&one_node::web_pods(node)))?;
    let vips = families().map(|f| [AGING, LASTING, ALONE].map(|vip| vip.at(f, PORT)));
    let held = Held::open(bed.client(), vips)?;
    let to = AGING.v4.to_string();
    let shown = agent_output::frontend(&bed.node, "TCP", &to, PORT)?;
    ensure!(shown.max_connection_age_seconds == 10);
    let expected = held.aging.len();
    held.grow_old()?;
    let counted = agent_output::metric(&bed.node, "lb_agent_tcp_sockets_reset_total")?;
    #[expect(clippy::cast_precision_loss, reason = "some dozens")]
    let expected = expected as f64;
    ensure!((counted - expected).abs() < 0.5, "{counted} of {expected}");
    Ok(())
}

/// Pods of both nodes.
fn two_nodes(start: Start) -> Result<TwoNodes> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, start)?;
    let pods = [bed.endpoints(&bed.near), bed.endpoints(&bed.far)].concat();
    for service in services(&pods) {
        bed.apply(&service)?;
    }
    Ok(bed)
}

#[test]
fn clients_outside_connect_again() -> Result<()> {
    for hook in hooks() {
        let bed = two_nodes(hook.start())?;
        let ports = families().map(|f| NODE_PORTS.map(|port| bed.near.addr().at(f, port)));
        let held = Held::open(&bed.client, ports)?;
        let expected = held.aging.len() as u64;
        held.grow_old()?;
        ensure!(agent_output::counted(&bed.near, "pkt_reset")? >= expected);
    }
    Ok(())
}

#[test]
fn clients_over_lb0_connect_again() -> Result<()> {
    let bed = two_nodes(without_sockets())?;
    routed(&bed.near)?;
    let vips = families().map(|f| [AGING, LASTING, ALONE].map(|vip| vip.at(f, PORT)));
    Held::open(&bed.near, vips)?.grow_old()
}
