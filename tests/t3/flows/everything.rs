//! Everything at once: connections that live, connections that come and go, datagrams, clients on
//! the nodes, a flood; and meanwhile agents that are upgraded, restarted and killed, endpoints that
//! move, and a connection tracker that is emptied.

use std::{
    env,
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr, agent,
    manifest::{Endpoint, Service},
    matrix::{Hook, families, matrix},
    node::PodNetwork,
    one_node::{PORT, TARGET as PODS_TARGET},
    probe::{Crowd, Ending, Family, FloodPlan, Forged, Hammer, HammerPlan, Kind, Tally},
    two_nodes::{LOCAL, REMOTE},
};

use super::{Bed, TURN, all_answered, once, sized};

/// In the suite; each of both hooks has half of what `cargo xtask soak all --minutes` says.
const SUITE: Duration = Duration::from_secs(20);
/// SYNs a second, from sources that are nobody's.
const FLOOD: u32 = 200;
/// The Service whose endpoints move.
const MOVING: &str = "moving";
const MOVING_PORT: u16 = 30_015;

fn lasting() -> Result<Duration> {
    let Ok(minutes) = env::var("LB_SOAK_MINUTES") else {
        return Ok(SUITE);
    };
    let minutes: u64 = minutes
        .parse()
        .with_context(|| format!("LB_SOAK_MINUTES={minutes} is no number"))?;
    Ok(Duration::from_secs(minutes * 60 / 2))
}

/// What happens to the nodes, one after the other.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The agent stops, and another one starts on what it left.
    Restart(usize),
    /// It is killed.
    Kill(usize),
    /// The endpoints are those of these nodes now: the near one, the far one, both.
    Move(bool, bool),
    /// The connection tracker of both nodes forgets everything.
    Forget,
}

const EVENTS: [Event; 8] = [
    Event::Restart(0),
    Event::Move(true, false),
    Event::Restart(1),
    Event::Forget,
    Event::Kill(0),
    Event::Move(false, true),
    Event::Kill(1),
    Event::Move(true, true),
];

/// Those who ask all the time.
struct Asking {
    held: Vec<(Crowd, &'static str, u32)>,
    hammers: Vec<(Hammer, String)>,
}

fn moving(bed: &Bed, near: bool, far: bool) -> Service {
    let of = |node, is: bool| -> Vec<Endpoint> {
        let all = bed.nodes.endpoints(node);
        if is { all } else { Vec::new() }
    };
    let endpoints = [of(&bed.nodes.near, near), of(&bed.nodes.far, far)].concat();
    Service::new(MOVING, addr::vip(15))
        .node_port(PORT, PODS_TARGET, MOVING_PORT)
        .endpoints(endpoints)
}

/// Opens what is held, under whichever agent runs.
fn hold(bed: &Bed) -> Result<Vec<(Crowd, &'static str, u32)>> {
    let (count, mut first) = (sized(20, 300), 33_000);
    let mut held = Vec::new();
    for (place, ..) in bed.all() {
        for family in families() {
            let mut stay = once(Kind::Tcp, place.node_port(&bed.nodes, family), first, count)?;
            stay.ending = Ending::Stay;
            first += u16::try_from(count)?;
            let crowd = bed.nodes.client.crowd(stay)?;
            all_answered(&crowd.opened(TURN)?, place.name, "connections that live")?;
            held.push((crowd, place.name, count));
        }
    }
    Ok(held)
}

/// New connections and datagrams, from outside and from a pod of each node.
fn hammer(bed: &Bed) -> Result<Vec<(Hammer, String)>> {
    let mut hammers = Vec::new();
    let mut start = |who: &str, host: &testbed::host::Host, kind, to, allowed: &[&str]| {
        let plan = HammerPlan {
            kind,
            connected: true,
            to,
            allowed: allowed.iter().map(|name| (*name).to_owned()).collect(),
        };
        let what = format!("{who} at {to} by {kind}");
        hammers.push((host.hammer(plan)?, what));
        anyhow::Ok(())
    };
    let client = bed.nodes.client.host();
    // In the suite one of each kind, since they leave no CPU idle.
    let each = sized(1, 4);
    for (n, (place, ..)) in (0..).zip(bed.all()) {
        for (_, case) in (0..).zip(matrix()).filter(|(m, _)| (m + n) % 4 < each) {
            let to = place.node_port(&bed.nodes, case.family);
            start("a client outside", client, case.kind, to, &[place.name])?;
        }
    }
    let any = [LOCAL, REMOTE].concat();
    let to = bed.nodes.near.addr().at(Family::V4, MOVING_PORT);
    start("a client outside", client, Kind::Tcp, to, &any)?;
    for node in [&bed.nodes.near, &bed.nodes.far] {
        let to = bed.remote.cluster_ip(Family::V4);
        let pod = node.pod(1).host();
        start("a pod", pod, Kind::Tcp, to, &[bed.remote.name])?;
    }
    Ok(hammers)
}

impl Event {
    fn happen(self, bed: &mut Bed, hook: Hook) -> Result<()> {
        match self {
            Self::Restart(node) => {
                bed.nodes.agents.remove(node).stop()?;
                start(bed, node, hook)
            }
            Self::Kill(node) => {
                bed.nodes.agents.remove(node).kill()?;
                start(bed, node, hook)
            }
            Self::Move(near, far) => bed.nodes.apply(&moving(bed, near, far)),
            Self::Forget => {
                for node in [&bed.nodes.near, &bed.nodes.far] {
                    node.run(&["conntrack", "-F"])?;
                }
                Ok(())
            }
        }
    }
}

fn start(bed: &mut Bed, node: usize, hook: Hook) -> Result<()> {
    let agent = if node == 0 {
        hook.start().on(&bed.nodes.near)?
    } else {
        agent::Start::new().on(&bed.nodes.far)?
    };
    bed.nodes.agents.insert(node, agent);
    Ok(())
}

fn everything(hook: Hook) -> Result<()> {
    let lasting = lasting()?;
    let mut bed = Bed::new(PodNetwork::Routed, hook)?;
    // More than the connections of a minute to one place, and none of those that are held.
    let ports = [
        ("net/ipv4/ip_local_port_range", "36000 65535"),
        ("net/ipv4/tcp_tw_reuse", "1"),
    ];
    bed.nodes.client.netns().sysctls(&ports)?;
    bed.nodes.apply(&moving(&bed, true, true))?;
    // What lives is opened under the agent before this one.
    bed.nodes.agents.remove(0).stop()?;
    agent::verb_with_state(&bed.nodes.near, &["cleanup"])?;
    let before = hook
        .start()
        .binary(&agent::previous()?)
        .on(&bed.nodes.near)?;
    bed.nodes.agents.insert(0, before);
    bed.wait_for_node_ports()?;
    let held = hold(&bed)?;
    Event::Restart(0).happen(&mut bed, hook)?;

    let attacker = bed.nodes.lan.client(2)?;
    let flood = attacker.flood(FloodPlan {
        forged: Forged::Syn,
        to: bed.remote.node_port(&bed.nodes, Family::V4),
        per_second: FLOOD,
    })?;
    let hammers = hammer(&bed)?;
    let asking = Asking { held, hammers };
    let (begun, mut events) = (Instant::now(), 0);
    let mut answers = 0;
    for event in EVENTS.into_iter().cycle() {
        if begun.elapsed() > lasting && events >= EVENTS.len() {
            break;
        }
        event
            .happen(&mut bed, hook)
            .with_context(|| format!("{event:?}"))?;
        events += 1;
        for (crowd, name, count) in &asking.held {
            let again = crowd.ask_again(u64::from(*count), TURN)?;
            all_answered(&again, name, &format!("{hook}, after {event:?}"))?;
            answers += again.attempts;
        }
    }
    let took = begun.elapsed();
    let forged = flood.sent()?;
    drop(flood);
    let (mut attempts, mut failed) = (0, Vec::new());
    for (hammer, what) in asking.hammers {
        let Tally {
            attempts: tried,
            failures,
            ..
        } = hammer.stop()?;
        ensure!(tried > 0, "{hook}: nobody asked: {what}");
        attempts += tried;
        if !failures.is_empty() {
            failed.push(format!("{what}: {failures:?} of {tried}"));
        }
    }
    writeln!(
        std::io::stdout().lock(),
        "\nnote: everything at once by {hook} for {took:.0?}: {events} events, {attempts} new connections and \
         datagrams, {answers} answers on {} connections opened before an upgrade, {forged} forged SYNs",
        asking.held.iter().map(|(_, _, count)| count).sum::<u32>()
    )?;
    ensure!(failed.is_empty(), "{hook}: {}", failed.join("\n"));
    Ok(())
}

#[test]
fn everything_at_once_costs_nobody_a_connection_by_tc() -> Result<()> {
    everything(Hook::Tc)
}

#[test]
fn everything_at_once_costs_nobody_a_connection_by_xdp() -> Result<()> {
    everything(Hook::Xdp)
}
