//! `lb-agent.io/max-connection-age`: who has pinned one backend is balanced anew when there are
//! others, over each path. What is shown of times are bounds that the annotation promises, which no
//! load makes wrong.

use std::{
    collections::BTreeSet,
    net::{Ipv6Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use testbed::{
    addr::{self, Both},
    agent::{CHANGE, Start},
    agent_output,
    host::Host,
    lan::Offloads,
    manifest::{Endpoint, Service},
    matrix::{families, hooks},
    node::{Node, PodNetwork},
    one_node::{self, OneNode, PORT, TARGET},
    poll,
    probe::{CrowdPlan, Ending, Family, Kind, Sock, Tally},
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
const AGING: Both = addr::vip(71);
/// The same pods without a limit.
const LASTING: Both = addr::vip(72);
/// A limit, and one pod.
const ALONE: Both = addr::vip(73);
const NODE_PORTS: [u16; 3] = [30071, 30072, 30073];

fn aging(pods: &[Endpoint]) -> Service {
    let service = Service::new("aging", AGING).annotate(ANNOTATION, "10s");
    let service = service.node_port(PORT, TARGET, NODE_PORTS[0]);
    service.endpoints(pods.to_vec())
}

/// Clients of the first one all have the same pod.
fn services(pods: &[Endpoint]) -> [Service; 3] {
    let lasting = Service::new("lasting", LASTING).node_port(PORT, TARGET, NODE_PORTS[1]);
    let alone = Service::new("alone", ALONE).annotate(ANNOTATION, "10s");
    let alone = alone.node_port(PORT, TARGET, NODE_PORTS[2]);
    [
        aging(&pods[..1]),
        lasting.endpoints(pods.to_vec()),
        alone.endpoints(pods[..1].to_vec()),
    ]
}

/// The Service has more pods.
fn grow(node: &Node, pods: &[Endpoint]) -> Result<()> {
    let service = aging(pods);
    node.write_manifest(&service.file(), &service.yaml())?;
    poll::until_true(CHANGE, "all of them serve", || {
        let shown = agent_output::frontend(node, "TCP", &AGING.v4.to_string(), PORT)?;
        let ready = shown.backends.iter().filter(|b| b.state == "ready");
        Ok(ready.count() == pods.len() && shown.max_connection_age_seconds == 10)
    })
}

/// When connections of one moment end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// With the next packet of each.
    Apart,
    /// At the next look at sockets.
    AtLooks,
}

/// Open connections of a client.
struct Held<'a> {
    client: &'a Host,
    aging: Vec<(SocketAddr, Sock, String)>,
    /// To the Services beside it.
    others: Vec<(Sock, String)>,
}

/// Opens connections to one address, by who answers.
fn some(client: &Host, to: SocketAddr) -> Result<Vec<(Sock, String)>> {
    poll::until(CHANGE, "the service answers", || {
        let sock = client.connect(Kind::Tcp, to);
        Ok(sock.and_then(|sock| sock.ask("first")).ok())
    })?;
    (0..SOME).map(|_| one(client, to)).collect()
}

fn one(client: &Host, to: SocketAddr) -> Result<(Sock, String)> {
    let sock = client.connect(Kind::Tcp, to)?;
    let name = sock.ask("before")?.name;
    Ok((sock, name))
}

impl<'a> Held<'a> {
    /// `to` are the addresses of the three Services.
    fn open(client: &'a Host, to: impl Iterator<Item = [SocketAddr; 3]>) -> Result<Self> {
        let (mut aging, mut others) = (Vec::new(), Vec::new());
        for [old, lasting, alone] in to {
            let pinned = some(client, old)?;
            aging.extend(pinned.into_iter().map(|(sock, name)| (old, sock, name)));
            others.extend(some(client, lasting)?);
            others.extend(some(client, alone)?);
        }
        Ok(Self {
            client,
            aging,
            others,
        })
    }

    /// Each connection to the first Service, whose limit holds since then, is reset once, not before
    /// its age; its client connects again, and together they have other pods. The others stay.
    fn grow_old(mut self, since: Instant, ends: Ends) -> Result<()> {
        let (mut times, mut again) = (Vec::new(), Vec::new());
        // Half as old again, a look at sockets, units of ages.
        while !self.aging.is_empty() {
            let left = self.aging.len();
            ensure!(since.elapsed() < poll::patient(AGE * 6), "{left} are left");
            let mut open = Vec::new();
            for (to, sock, name) in self.aging {
                match sock.ask("still there?") {
                    Ok(answer) => {
                        ensure!(answer.name == name, "{answer:?} instead of {name}");
                        open.push((to, sock, name));
                    }
                    Err(error) if is_end(&error) => {
                        times.push(since.elapsed());
                        again.push(one(self.client, to)?);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            self.aging = open;
            go_on(&self.others)?;
            thread::sleep(PAUSE);
        }
        let (Some(first), Some(last)) = (times.first(), times.last()) else {
            bail!("there was none");
        };
        ensure!(*first > AGE, "{first:?}");
        let apart = last.saturating_sub(*first);
        ensure!(ends == Ends::AtLooks || apart > PAUSE * 4, "{apart:?}");
        let pods: BTreeSet<&String> = again.iter().map(|(_, name)| name).collect();
        ensure!(
            pods.len() > 1,
            "all of {} are at {pods:?} again",
            again.len()
        );
        go_on(again.iter().chain(&self.others))
    }
}

#[test]
fn sockets_of_the_node_connect_again() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| {
        services(&one_node::web_pods(node)).to_vec()
    })?;
    let vips = families().map(|f| [AGING, LASTING, ALONE].map(|vip| vip.at(f, PORT)));
    let held = Held::open(bed.client(), vips)?;
    let expected = u64::try_from(held.aging.len())?;
    let since = Instant::now();
    grow(&bed.node, &one_node::web_pods(&bed.node))?;
    held.grow_old(since, Ends::AtLooks)?;
    poll::until_true(CHANGE, "each is counted", || {
        let counted = agent_output::metric(&bed.node, "lb_agent_tcp_sockets_reset_total")?;
        Ok(format!("{counted:.0}") == expected.to_string())
    })
}

/// Pods of both nodes.
fn two_nodes(start: Start) -> Result<(TwoNodes, Vec<Endpoint>)> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, start)?;
    let pods = [bed.endpoints(&bed.far), bed.endpoints(&bed.near)].concat();
    for service in services(&pods) {
        bed.apply(&service)?;
    }
    Ok((bed, pods))
}

#[test]
fn clients_outside_connect_again() -> Result<()> {
    for hook in hooks() {
        let (bed, pods) = two_nodes(hook.start())?;
        let ports = families().map(|f| NODE_PORTS.map(|port| bed.near.addr().at(f, port)));
        let held = Held::open(&bed.client, ports)?;
        let expected = held.aging.len() as u64;
        let since = Instant::now();
        grow(&bed.near, &pods)?;
        held.grow_old(since, Ends::Apart)?;
        ensure!(agent_output::counted(&bed.near, "pkt_reset")? >= expected);
    }
    Ok(())
}

#[test]
fn clients_over_lb0_connect_again() -> Result<()> {
    let (bed, pods) = two_nodes(without_sockets())?;
    routed(&bed.near)?;
    let vips = families().map(|f| [AGING, LASTING, ALONE].map(|vip| vip.at(f, PORT)));
    let held = Held::open(&bed.near, vips)?;
    let since = Instant::now();
    grow(&bed.near, &pods)?;
    held.grow_old(since, Ends::Apart)
}

/// What a CPU ends at once, and in a second.
const BUCKET: u64 = 50;
const CROWD: u32 = 1000;
/// For a crowd to be answered.
const TURN: Duration = Duration::from_mins(1);
/// Where servers for a crowd listen.
const CROWDED: u16 = 8090;

#[test]
fn a_crowd_that_is_old_ends_little_by_little() -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, Start::new())?;
    for pod in bed.far.pods() {
        let any = (Ipv6Addr::UNSPECIFIED, CROWDED).into();
        pod.listen_crowd(Kind::Tcp, any, pod.name())?;
    }
    let service = Service::new("aging", AGING).annotate(ANNOTATION, "10s");
    let service = service.node_port(PORT, CROWDED, NODE_PORTS[0]);
    bed.apply(&service.endpoints(bed.endpoints(&bed.far)))?;
    let to = bed.near.addr().at(Family::V4, NODE_PORTS[0]);
    poll::until(CHANGE, "the service answers", || {
        Ok(bed.client.ask(Kind::Tcp, to).ok())
    })?;
    let crowd = bed.client.crowd(CrowdPlan {
        kind: Kind::Tcp,
        to,
        count: CROWD,
        per_second: 0,
        at_once: 8,
        ports: None,
        ending: Ending::Stay,
    })?;
    let failed = |tally: &Tally| -> u64 { tally.failures.values().sum() };
    ensure!(failed(&crowd.opened(TURN)?) == 0);
    // Each is verified once under the limit, and is too old afterwards, whatever its own number.
    ensure!(failed(&crowd.ask_again(CROWD.into(), TURN)?) == 0);
    thread::sleep(AGE * 2 + AGE / 2);
    let cpus = u64::try_from(thread::available_parallelism()?.get())?;
    let (begun, mut before) = (Instant::now(), 0);
    for _ in 0..3 {
        // Those that have ended fail again.
        let ended = failed(&crowd.ask_again(CROWD.into(), TURN)?);
        let most = cpus * BUCKET * (2 + begun.elapsed().as_secs());
        ensure!(
            before < ended && ended <= most,
            "{before}, {ended} of {CROWD}, not {most}"
        );
        before = ended;
        // A verification is over, and a turn has come.
        thread::sleep(PAUSE * 2);
    }
    Ok(())
}
