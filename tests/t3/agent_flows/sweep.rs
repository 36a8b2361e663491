use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::Pod;
use lb_agent::{
    flows::clock::monotonic,
    maps::{
        dir::BpfDir,
        pinned::{Access, HashPin},
        table::HashTable as _,
    },
};
use lb_common::{
    Addr,
    flow::{Flow, FlowKey, direction, units},
    maps::{self, MapSpec},
};
use testbed::{
    agent::Start,
    agent_output,
    lan::{Lan, Offloads},
    manifest,
    matrix::{Case, matrix},
    node::{Node, PodNetwork},
    poll,
    probe::{Family, Kind},
    two_nodes::{LOCAL_PORT, REMOTE_PORT, TwoNodes},
};

/// The shortest time of an entry, 17 seconds, a sweep each 15 seconds, and some patience.
const SWEPT: Duration = Duration::from_mins(3);

fn table<V: Pod>(node: &Node, spec: MapSpec, access: Access) -> Result<HashPin<FlowKey, V>> {
    Ok(HashPin::open(&BpfDir::at(node.bpf_dir()), spec, access)?)
}

fn flows(node: &Node) -> Result<Vec<(FlowKey, Flow)>> {
    let mut all = Vec::new();
    for spec in [maps::FLOWS, maps::NEWFLOWS] {
        all.extend(table::<Flow>(node, spec, Access::Read)?.entries()?);
    }
    Ok(all)
}

fn swept(node: &Node, map: &str) -> Result<f64> {
    let name = format!("lb_agent_flow_entries_swept_total{{map=\"{map}\"}}");
    agent_output::metric(node, &name)
}

#[test]
fn flows_whose_time_is_over_are_removed_and_live_ones_stay() -> Result<()> {
    let start = Start::new().args(&[
        "--conntrack-tcp-timeout-established=1s",
        "--conntrack-udp-timeout=1s",
        "--conntrack-udp-timeout-stream=1s",
    ]);
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, start)?;
    let node = &bed.near;
    let (mut idle, mut live) = (Vec::new(), Vec::new());
    for port in [LOCAL_PORT, REMOTE_PORT] {
        for Case { family, kind } in matrix() {
            let to = node.addr().at(family, port);
            for all in [&mut idle, &mut live] {
                let sock = bed.client.connect(kind, to)?;
                let name = sock.ask("one")?.name;
                ensure!(sock.ask("two")?.name == name);
                all.push((sock, name));
            }
        }
    }
    let pairs = idle.len() + live.len();
    ensure!(flows(node)?.len() >= 2 * pairs, "two entries for each flow");
    let before = Instant::now();
    poll::until_true(SWEPT, "the idle flows are removed", || {
        for (sock, name) in &live {
            let answer = sock.ask("still").context("a live flow")?;
            ensure!(
                answer.name == *name,
                "{} in the place of {name}",
                answer.name
            );
        }
        Ok(flows(node)?.len() == 2 * live.len())
    })?;
    ensure!(
        before.elapsed() > Duration::from_secs(8),
        "never before their time"
    );
    for (sock, name) in &live {
        ensure!(sock.ask("after")?.name == *name, "{name}");
    }
    ensure!(flows(node)?.len() == 2 * live.len());
    // All, and nothing twice. A sweep counts when it has ended.
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    let expected = 2.0 * idle.len() as f64;
    poll::until_true(SWEPT, "the removed flows are counted", || {
        let removed = swept(node, "lb_flows")? + swept(node, "lb_newflows")?;
        ensure!(removed < expected + 0.5, "{removed} of {expected}");
        Ok(removed > expected - 0.5)
    })?;
    poll::until_true(SWEPT, "flows are counted by state", || {
        let open = agent_output::metric(node, "lb_agent_flows{state=\"established\"}")?;
        let streams = agent_output::metric(node, "lb_agent_flows{state=\"stream\"}")?;
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        Ok((open + streams - live.len() as f64).abs() < 0.5)
    })?;
    drop(idle);
    Ok(())
}

fn tuple(sport: u16) -> FlowKey {
    FlowKey {
        src: Addr::v4([203, 0, 113, 1]),
        dst: Addr::v4([203, 0, 113, 2]),
        sport,
        dport: 80,
        proto: 6,
        pad: [0; 3],
    }
}

#[test]
fn what_netfilter_and_others_have_is_removed_when_it_is_past() -> Result<()> {
    let start = Start::new().args(&["--conntrack-tcp-timeout-established=1s"]);
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, start)?;
    let node = &bed.near;
    let now = monotonic();
    let second = 1_000_000_000;
    // One from ahead, as of another CPU's clock, counts as of now: so it stays to the end.
    let past = now.saturating_sub(60 * second).max(1);
    let live = now + 600 * second;
    let mut netfilters = table::<Flow>(node, maps::FLOWS, Access::Write)?;
    let mut foreign = table::<u32>(node, maps::FOREIGN, Access::Write)?;
    let written = netfilters.insert(&[
        (tuple(1), Flow::of_netfilter(past)),
        (tuple(2), Flow::of_netfilter(live)),
        (FlowKey::ADOPTING, Flow::of_netfilter(1)),
    ]);
    ensure!(written.error.is_none(), "{:?}", written.error);
    let written = foreign.insert(&[(tuple(1), units(past)), (tuple(2), units(live))]);
    ensure!(written.error.is_none(), "{:?}", written.error);
    poll::until_true(SWEPT, "what is past is removed", || {
        Ok(swept(node, "lb_flows")? > 0.5 && swept(node, "lb_foreign")? > 0.5)
    })?;
    let left = |keys: Vec<FlowKey>| {
        let mut ports: Vec<u16> = keys.iter().map(|key| key.sport).collect();
        ports.sort_unstable();
        ports
    };
    let of_netfilter = netfilters.entries()?.into_iter();
    let of_netfilter = of_netfilter.filter(|(_, flow)| flow.direction == direction::NETFILTER);
    ensure!(left(of_netfilter.map(|(key, _)| key).collect()) == [0, 2]);
    let ours = foreign.entries()?.into_iter().map(|(key, _)| key);
    ensure!(left(ours.filter(|key| key.src == tuple(1).src).collect()) == [2]);
    // The node works on.
    let to = bed.far.addr().at(Family::V4, REMOTE_PORT);
    bed.client.ask(Kind::Tcp, to)?;
    Ok(())
}

/// Flows that are open and idle: the dearest ones, since each forward entry asks its reply entry.
fn open_and_idle(count: u32, now: u64) -> Vec<(FlowKey, Flow)> {
    let idle = now.saturating_sub(600_000_000_000).max(1);
    let pair = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        let forward_key = FlowKey {
            src: Addr::v4([10, a, b, c]),
            ..tuple(4000)
        };
        let mut forward = Flow {
            src: forward_key.src,
            dst: Addr::v4([198, 18, 255, 1]),
            sport: 4000,
            dport: 8080,
            direction: direction::FORWARD,
            generation: n + 1,
            ..Flow::of_netfilter(now)
        };
        forward.set_verified(idle);
        let reply = Flow {
            src: forward_key.dst,
            dst: forward_key.src,
            sport: forward_key.dport,
            dport: forward_key.sport,
            direction: direction::REPLY,
            generation: n + 1,
            ..Flow::of_netfilter(idle)
        };
        [(forward_key, forward), (forward.reverse_key(6), reply)]
    };
    (0..count).flat_map(pair).collect()
}

#[test]
fn a_sweep_of_256000_idle_flows_removes_none() -> Result<()> {
    const FLOWS: u32 = 256_000;
    let lan = Lan::new(Offloads::On)?;
    let node = Node::new(&lan, 1, PodNetwork::Routed)?;
    node.write_manifest("node.yaml", &manifest::node(&node))?;
    let room = "lb_flows=1048576";
    let _agent = Start::new().args(&["--map-capacity", room]).on(&node)?;
    let mut table = table::<Flow>(&node, maps::FLOWS, Access::Write)?;
    let written = table.insert(&open_and_idle(FLOWS, monotonic()));
    ensure!(written.error.is_none(), "{:?}", written.error);
    poll::until_true(SWEPT, "a sweep has met them all", || {
        let met = agent_output::metric(&node, "lb_agent_flows{state=\"established\"}")?;
        Ok((met - f64::from(FLOWS)).abs() < 0.5)
    })?;
    let took = agent_output::metric(&node, "lb_agent_flow_sweep_duration_seconds")?;
    println!("a sweep of {FLOWS} idle flows worked {took} s");
    ensure!(swept(&node, "lb_flows")? < 0.5);
    Ok(())
}
