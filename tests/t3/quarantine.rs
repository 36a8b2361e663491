//! Passive health: a backend that answers no handshake is out of the way of clients, and back when it
//! answers; whoever has another backend notices nothing.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr::{self, Both},
    agent::{CHANGE, Start},
    agent_output,
    host::Host,
    lan::Offloads,
    manifest::{Endpoint, Service},
    matrix::{families, hooks},
    node::{Node, PodNetwork},
    one_node::{self, OneNode, PORT, TARGET, WEB},
    poll,
    probe::{Family, Kind, Sock},
    two_nodes::TwoNodes,
};

const PASSIVE_HEALTH: &str = "lb-agent.io/passive-health";
const VIP: Both = addr::vip(62);
const NODE_PORT: u16 = 30062;

/// Packets to its servers' port vanish.
fn fall_silent(host: &Host) -> Result<()> {
    for words in [
        "add table inet silent",
        "add chain inet silent in { type filter hook input priority 0 ; }",
        &format!("add rule inet silent in tcp dport {TARGET} drop"),
    ] {
        host.run(&["nft", words])?;
    }
    Ok(())
}

fn recover(host: &Host) -> Result<()> {
    host.run(&["nft", "delete table inet silent"]).map(drop)
}

/// The state of each backend, by its address.
fn states(node: &Node) -> Result<BTreeMap<String, String>> {
    let vip = agent_output::frontend(node, "TCP", &VIP.v4.to_string(), PORT)?;
    Ok(vip
        .backends
        .into_iter()
        .map(|b| (b.address, b.state))
        .collect())
}

fn state(node: &Node, pod: &str) -> Result<String> {
    states(node)?.remove(pod).context("it is a backend")
}

/// A hundred connects under way, of which nobody waits for the other.
fn hundred(client: &Host, family: Family, to: SocketAddr) -> Result<Vec<Sock>> {
    let connect = |_| {
        let sock = client.socket(Kind::Tcp, family)?;
        sock.nonblocking()?;
        match sock.connect(to) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error.into()),
            _ => Ok(sock),
        }
    };
    (0..100).map(connect).collect()
}

/// One open connection to each pod that the client meets.
fn held(client: &Host, to: SocketAddr) -> Result<Vec<(Sock, String)>> {
    let mut held = BTreeMap::new();
    for _ in 0..40 {
        let sock = client.connect(Kind::Tcp, to)?;
        let name = sock.ask("before")?.name;
        held.insert(name.clone(), (sock, name));
    }
    Ok(held.into_values().collect())
}

fn go_on(held: &[(Sock, String)], but: &str) -> Result<()> {
    for (sock, name) in held.iter().filter(|(_, name)| name != but) {
        ensure!(sock.ask("still there?")?.name == *name);
    }
    Ok(())
}

fn all_are_served(client: &Host, to: SocketAddr, times: u32, but: &str) -> Result<()> {
    for _ in 0..times {
        let start = Instant::now();
        let name = client.ask(Kind::Tcp, to)?.name;
        ensure!(name != but, "{name} was asked");
        ensure!(
            start.elapsed() < Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
    }
    Ok(())
}

/// Waits until a backend is in quarantine, by what is quickly asked.
fn one_is_out(node: &Node) -> Result<()> {
    poll::until_true(CHANGE, "it is in quarantine", || {
        Ok(agent_output::metric(node, "lb_agent_quarantined_backends")? > 0.5)
    })
}

fn service(endpoints: &[Endpoint], passive_health: &str) -> Service {
    Service::new("watched", VIP)
        .node_port(PORT, TARGET, NODE_PORT)
        .annotate(PASSIVE_HEALTH, passive_health)
        .endpoints(endpoints.to_vec())
}

/// Fast enough, on a machine that may be crowded.
fn within(seconds: u64, since: Instant) -> Result<()> {
    let took = since.elapsed();
    ensure!(
        took <= poll::patient(Duration::from_secs(seconds)),
        "{took:?}"
    );
    Ok(())
}

#[test]
fn sockets_are_out_of_its_way_in_seconds_and_back_when_it_answers() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| {
        vec![service(&one_node::web_pods(node), "on")]
    })?;
    let (node, client, pod) = (&bed.node, bed.client(), bed.node.pod(0));
    for family in families() {
        let to = VIP.at(family, PORT);
        let held = held(client, to)?;
        ensure!(held.len() == WEB.len());
        fall_silent(pod)?;
        let silent = Instant::now();
        let _waiting = hundred(client, family, to)?;
        let v4 = pod.addr().v4.to_string();
        let of_family = match family {
            Family::V4 => v4,
            Family::V6 => format!("[{}]", pod.addr().v6),
        };
        let vip = match family {
            Family::V4 => VIP.v4.to_string(),
            Family::V6 => format!("[{}]", VIP.v6),
        };
        let state = || -> Result<String> {
            let found = agent_output::frontend(node, "TCP", &vip, PORT)?;
            let backend = found.backends.into_iter().find(|b| b.address == of_family);
            Ok(backend.context("it is a backend")?.state)
        };
        one_is_out(node)?;
        within(3, silent)?;
        poll::until_true(CHANGE, "it has no slot", || Ok(state()? == "quarantined"))?;
        all_are_served(client, to, 100, WEB[0])?;
        go_on(&held, WEB[0])?;
        recover(pod)?;
        let healed = Instant::now();
        poll::until_true(CHANGE, "it is back", || Ok(state()? == "ready"))?;
        within(10, healed)?;
        poll::until_true(CHANGE, "it is asked", || {
            Ok(client.ask(Kind::Tcp, to)?.name == WEB[0])
        })?;
        // Its own connections have waited.
        go_on(&held, "")?;
    }
    Ok(())
}

#[test]
fn packets_are_out_of_its_way_and_the_waiting_ones_go_elsewhere() -> Result<()> {
    for hook in hooks() {
        let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, hook.start())?;
        let both = [bed.endpoints(&bed.near), bed.endpoints(&bed.far)].concat();
        bed.apply(&service(&both, "on"))?;
        let to = bed.near.addr().at(Family::V4, NODE_PORT);
        poll::until(CHANGE, "the service answers", || {
            Ok(bed.client.ask(Kind::Tcp, to).ok())
        })?;
        let held = held(&bed.client, to)?;
        for pod in [bed.near.pod(0), bed.far.pod(1)] {
            fall_silent(pod)?;
            let silent = Instant::now();
            let waiting = hundred(&bed.client, Family::V4, to)?;
            let at = pod.addr().v4.to_string();
            one_is_out(&bed.near)?;
            within(3, silent)?;
            poll::until_true(CHANGE, "it has no slot", || {
                Ok(state(&bed.near, &at)? == "quarantined")
            })?;
            all_are_served(&bed.client, to, 100, pod.name())?;
            go_on(&held, pod.name())?;
            // Their SYNs come again, and nobody has answered the first one.
            for sock in &waiting {
                sock.writable()?;
            }
            ensure!(silent.elapsed() < poll::patient(Duration::from_secs(8)));
            recover(pod)?;
            let healed = Instant::now();
            poll::until_true(CHANGE, "it is back", || {
                Ok(state(&bed.near, &at)? == "ready")
            })?;
            within(10, healed)?;
        }
        go_on(&held, "")?;
    }
    Ok(())
}

#[test]
fn resets_count_too_and_the_last_one_always_stays() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| {
        vec![service(&one_node::web_pods(node)[..2], "on")]
    })?;
    let to = VIP.at(Family::V4, PORT);
    // Nobody listens on this port of either pod.
    let pods = one_node::web_pods(&bed.node);
    let closed = Service::new("watched", VIP)
        .port(PORT, 9191)
        .annotate(PASSIVE_HEALTH, "on")
        .endpoints(pods[..2].to_vec());
    bed.apply(&closed)?;
    poll::until_true(CHANGE, "connects are refused", || {
        Ok(bed.client().ask(Kind::Tcp, to).is_err())
    })?;
    poll::until_true(CHANGE, "one of them is in quarantine", || {
        let refused = bed.client().ask(Kind::Tcp, to);
        ensure!(refused.is_err());
        Ok(states(&bed.node)?
            .values()
            .any(|state| state == "quarantined"))
    })?;
    for _ in 0..20 {
        ensure!(bed.client().ask(Kind::Tcp, to).is_err());
    }
    std::thread::sleep(Duration::from_secs(1));
    let states = states(&bed.node)?;
    let ready = states.values().filter(|state| *state == "ready").count();
    ensure!(ready == 1, "{states:?}");
    Ok(())
}

#[test]
fn one_that_leaves_while_it_is_out_is_trusted_when_it_is_back() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| {
        vec![service(&one_node::web_pods(node), "on")]
    })?;
    let (node, pod, to) = (&bed.node, bed.node.pod(0), VIP.at(Family::V4, PORT));
    let at = pod.addr().v4.to_string();
    let ready = service(&one_node::web_pods(node), "on");
    let mut endpoints = one_node::web_pods(node);
    (endpoints[0].ready, endpoints[0].serving) = (false, false);
    let unready = service(&endpoints, "on");
    fall_silent(pod)?;
    let leave: [&dyn Fn() -> Result<()>; 2] = [&|| bed.apply(&unready), &|| {
        node.remove_manifest(&ready.file())
    }];
    for leave in leave {
        let waiting = hundred(bed.client(), Family::V4, to)?;
        one_is_out(node)?;
        poll::until_true(CHANGE, "it has no slot", || {
            Ok(state(node, &at)? == "quarantined")
        })?;
        // Nobody asks it any more, or it would be out again.
        drop(waiting);
        leave()?;
        poll::until_true(CHANGE, "no backend is in quarantine", || {
            Ok(agent_output::metric(node, "lb_agent_quarantined_backends")? < 0.5)
        })?;
        bed.apply(&ready)?;
        poll::until_true(CHANGE, "it has slots again", || {
            Ok(state(node, &at).is_ok_and(|state| state == "ready"))
        })?;
    }
    recover(pod)?;
    poll::until_true(CHANGE, "it is asked", || {
        Ok(bed.client().ask(Kind::Tcp, to)?.name == WEB[0])
    })
}

#[test]
fn without_it_a_silent_backend_stays() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| {
        vec![service(&one_node::web_pods(node), "off")]
    })?;
    fall_silent(bed.node.pod(0))?;
    let _waiting = hundred(bed.client(), Family::V4, VIP.at(Family::V4, PORT))?;
    std::thread::sleep(Duration::from_secs(4));
    let states = states(&bed.node)?;
    ensure!(states.values().all(|state| state == "ready"), "{states:?}");
    Ok(())
}
