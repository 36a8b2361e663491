//! Every map made so small that it fills: what does not fit is named, the rest goes on, and what
//! was refused is carried when there is room, without a restart.

mod netns;
mod state;

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    agent::{self, CHANGE, Start},
    agent_output,
    matrix::{Case, matrix},
    one_node::{self, NODE_PORT, OneNode, PORT, WEB_VIP},
    poll,
    probe::{Family, Kind},
};

/// Services beside `web`.
const FILLERS: usize = 12;
/// How many of them have room.
const ROOM: usize = 8;

/// A map, what `web` and the agent itself need of it, what each of the others does, and what the
/// others are like.
struct Limit {
    map: &'static str,
    web: usize,
    each: usize,
    spec: &'static str,
}

/// `web` has TCP and UDP of both families on a cluster IP, a load balancer IP and a node port, and
/// three pods. Array maps have an entry 0 that is never given out.
const LIMITS: &[Limit] = &[
    Limit {
        map: "lb_frontends",
        web: 24,
        each: 4,
        spec: "",
    },
    Limit {
        map: "lb_nodeports",
        web: 8,
        each: 2,
        spec: "type: NodePort",
    },
    Limit {
        map: "lb_pools",
        web: 5,
        each: 1,
        spec: "",
    },
    Limit {
        map: "lb_slots",
        web: 16,
        each: 2,
        spec: "",
    },
    Limit {
        map: "lb_backends",
        web: 13,
        each: 2,
        spec: "",
    },
    Limit {
        map: "lb_members",
        web: 12,
        each: 2,
        spec: "",
    },
    Limit {
        map: "lb_srcranges",
        web: 0,
        each: 2,
        spec: "type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/8, 192.168.0.0/16]",
    },
];

fn filler(n: usize, spec: &str) -> String {
    let comma = if spec.is_empty() { "" } else { ", " };
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: f-{n}}}\n\
         spec: {{clusterIP: 10.96.8.{n}, clusterIPs: [10.96.8.{n}]{comma}{spec}, ports: [{{port: 80"
    );
    let node_port = if spec.contains("NodePort") {
        format!(", nodePort: {}", 30_500 + n)
    } else {
        String::new()
    };
    let status = if spec.contains("LoadBalancer") {
        format!("status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.{n}}}]}}}}\n")
    } else {
        String::new()
    };
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{node_port}}}]}}\n{status}---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: f-{n}-x, labels: {{kubernetes.io/service-name: f-{n}}}}}\naddressType: IPv4\n\
         ports: [{{port: 8080}}]\nendpoints: [{{addresses: [10.9.{n}.1]}}, {{addresses: [10.9.{n}.2]}}]\n"
    );
    text
}

fn file(n: usize) -> String {
    format!("f-{n}.yaml")
}

/// Backends that the kernel holds for the filler; `None` if it is not there at all.
fn carried(bed: &OneNode, n: usize) -> Result<Option<usize>> {
    let address = format!("10.96.8.{n}");
    let all = agent_output::frontends(&bed.node)?;
    let found = all.iter().find(|f| f.address == address);
    Ok(found.map(|f| f.backends.len()))
}

/// Those that are named, with what is said of them.
fn refused(bed: &OneNode) -> Result<Vec<(usize, String)>> {
    let named = agent_output::partially_programmed(&bed.node)?.into_iter();
    let number = |name: &str| name.strip_prefix("default/f-")?.parse().ok();
    named
        .map(|n| {
            let number = number(&n.service).with_context(|| format!("{n:?} is refused"))?;
            Ok((number, n.problems.join("; ")))
        })
        .collect()
}

fn check(bed: &OneNode) -> Result<(bool, String)> {
    let binary = agent::binary()?.display().to_string();
    let dir = bed.node.bpf_dir().display().to_string();
    let output = bed
        .node
        .output(&[binary.as_str(), "check", "--bpf-dir", &dir])?;
    Ok((output.status.success(), output.stdout))
}

fn fills(limit: &Limit) -> Result<()> {
    let Limit {
        map,
        web,
        each,
        spec,
    } = limit;
    let capacity = format!("{map}={}", web + ROOM * each);
    let bed = OneNode::with(Start::new().args(&["--map-capacity", &capacity]), |node| {
        vec![one_node::web(node)]
    })?;
    ensure!(refused(&bed)?.is_empty(), "{map}: {:?}", refused(&bed)?);
    let hammer = bed.hammer_web()?;
    for n in 1..=FILLERS {
        bed.node.write_manifest(&file(n), &filler(n, spec))?;
    }
    let words = format!("map {map} is full");
    let named = poll::until(
        CHANGE,
        &format!("{map}: those without room are named"),
        || {
            let named = refused(&bed)?;
            Ok((named.len() == FILLERS - ROOM).then_some(named))
        },
    )?;
    let log = bed.agent.as_ref().context("it runs")?.log()?;
    for (n, why) in &named {
        ensure!(why.contains(&words), "{map}: f-{n} is named for {why}");
        let told = log
            .lines()
            .any(|l| l.contains(&format!("default/f-{n} ")) && l.contains(&words));
        ensure!(told, "{map}: the log does not name f-{n}");
    }
    for n in (1..=FILLERS).filter(|n| named.iter().all(|(m, _)| m != n)) {
        ensure!(
            carried(&bed, n)? == Some(2),
            "{map}: f-{n} is neither named nor carried"
        );
    }
    let problems = agent_output::metric(&bed.node, "lb_agent_services_with_problems")?;
    ensure!(
        (problems - 4.0).abs() < 0.5,
        "{map}: {problems} Services with problems"
    );
    let (good, text) = check(&bed)?;
    ensure!(
        !good && text.contains(&format!("--map-capacity {map}=N")),
        "{map}: check says\n{text}"
    );
    let (status, _) = agent::http(&bed.node, agent::HEALTH, "/livez")?;
    ensure!(
        status == 200,
        "{map}: a restart would not help, yet /livez says {status}"
    );

    // Others go: those that were refused come, by themselves.
    for n in (1..=FILLERS).filter(|n| named.iter().all(|(m, _)| m != n)) {
        bed.node.remove_manifest(&file(n))?;
    }
    poll::until_true(
        CHANGE,
        &format!("{map}: those that were refused are carried"),
        || {
            let there = named.iter().map(|(n, _)| carried(&bed, *n));
            let there: Vec<_> = there.collect::<Result<_>>()?;
            ensure!(there.iter().all(|n| *n == Some(2)), "{there:?}");
            Ok(refused(&bed)?.is_empty())
        },
    )?;
    let tally = hammer.stop()?;
    ensure!(
        tally.attempts > 0 && tally.failures.is_empty(),
        "{map}: {tally:?}"
    );
    for Case { family, kind } in matrix() {
        bed.client().ask(kind, WEB_VIP.at(family, PORT))?;
    }
    Ok(())
}

macro_rules! limits {
    ($($name:ident: $map:literal;)+) => {$(
        #[test]
        fn $name() -> Result<()> {
            fills(LIMITS.iter().find(|l| l.map == $map).context("in the table")?)
        }
    )+};
}

limits! {
    lb_services_fills: "lb_frontends";
    lb_nodeports_fills: "lb_nodeports";
    lb_svc_fills: "lb_pools";
    lb_slots_fills: "lb_slots";
    lb_backends_fills: "lb_backends";
    lb_members_fills: "lb_members";
    lb_srcranges_fills: "lb_srcranges";
}

/// Every map that is not here has its limit in this file otherwise, or none that can be reached.
#[test]
fn every_map_has_its_limit_tried() {
    let otherwise = [
        // Of their own below.
        "lb_nodeaddrs",
        "lb_devs",
        "lb_affinity",
        "lb_udp_peers",
        "lb_netns",
        "lb_flows",
        "lb_newflows",
        // As large as what they count, which is checked at the start.
        "lb_sched",
        "lb_active",
        "lb_flow_counts",
        "lb_handshakes",
        "lb_pool_stats",
        "lb_pool_tcp",
        "lb_aff_shares",
        // One entry, or as many as there are reasons or sockets; an LRU of hints that a miss costs
        // nothing; an LRU of what is needed for milliseconds.
        "lb_agent",
        "lb_scratch",
        "lb_barrier",
        "lb_counters",
        "lb_sk",
        "lb_snat_peers",
        "lb_fragments",
        "lb_oversized",
        // An LRU of who else has a tuple; one entry twice; one entry a CPU.
        "lb_foreign",
        "lb_ports",
        "lb_hash_key",
        "lb_refusals",
        // One entry, or two a CPU; a ring that tells what it left out; what one command line asks
        // for.
        "lb_tr_filter",
        "lb_tr_rate",
        "lb_tr_runs",
        "lb_tr_ring",
        "lb_tr_vips",
        "lb_tr_clients",
        "lb_tr_backends",
        // Tried by `seeing::trace`.
        "lb_tr_netns",
        // Of a fixed size: what stands behind the end of a smaller one is looked for in any case.
        "lb_known",
        "lb_known_backs",
        "lb_xdp_devs",
    ];
    let untried: Vec<&str> = lb_common::maps::ALL
        .iter()
        .map(|spec| spec.name)
        .filter(|name| !otherwise.contains(name) && LIMITS.iter().all(|l| l.map != *name))
        .collect();
    assert!(untried.is_empty(), "no limit is tried of {untried:?}");
}

#[test]
fn lb_nodeaddrs_fills() -> Result<()> {
    // Loopback, the segment and the pods' gateway of both families are there already.
    let bed = OneNode::with(
        Start::new().args(&["--map-capacity", "lb_nodeaddrs=16"]),
        |node| vec![one_node::web(node)],
    )?;
    let more: Vec<String> = (1..=16).map(|n| format!("198.18.77.{n}")).collect();
    let ip = |word: &str, addrs: &[String]| -> Result<()> {
        let lines = addrs
            .iter()
            .map(|a| format!("addr {word} {a}/32 dev eth0\n"));
        bed.node.netns().ip(&lines.collect::<String>())
    };
    ip("add", &more)?;
    let agent = bed.agent.as_ref().context("it runs")?;
    poll::until_true(CHANGE, "the full map is named", || {
        Ok(agent.log()?.contains("map lb_nodeaddrs is full"))
    })?;
    let (good, text) = check(&bed)?;
    ensure!(
        !good && text.contains("--map-capacity lb_nodeaddrs=N"),
        "check says\n{text}"
    );
    let outside = bed.lan.client(1)?;
    outside.ask(Kind::Tcp, bed.node.addr().at(Family::V4, NODE_PORT))?;
    // All but the last go: the last is carried, whether it was or not.
    ip("del", &more[..15])?;
    outside.netns().ip(&format!(
        "route add {} via {}\n",
        more[15],
        bed.node.addr().v4
    ))?;
    let last = SocketAddr::new(more[15].parse()?, NODE_PORT);
    poll::until(CHANGE, "the last address answers", || {
        Ok(outside.ask(Kind::Tcp, last).ok())
    })?;
    Ok(())
}

#[test]
fn lb_devs_fills() -> Result<()> {
    const REATTACHED: Duration = Duration::from_secs(40);
    let lan = testbed::lan::Lan::new(testbed::lan::Offloads::On)?;
    let node = one_node::node_with_pods(&lan)?;
    for n in [0, 1] {
        node.netns().ip(&format!(
            "link add x{n} type veth peer name y{n}\nlink set x{n} up\n"
        ))?;
    }
    node.write_manifest("node.yaml", &testbed::manifest::node(&node))?;
    node.write_manifest("web.yaml", &one_node::web(&node).yaml())?;
    let args = ["--map-capacity", "lb_devs=2", "--devices", "eth0,x0,x1"];
    let agent = Start::new().args(&args).on(&node)?;
    poll::until_true(CHANGE, "the full map is named", || {
        Ok(agent.log()?.contains("map lb_devs is full")
            && agent_output::metric(&node, "lb_agent_attach_problems")? > 0.5)
    })?;
    // A device goes that has its entry: the other one gets it.
    let log = agent.log()?;
    let without = if log.contains("device x1: map lb_devs") {
        "x0"
    } else {
        "x1"
    };
    node.netns().ip(&format!("link del {without}\n"))?;
    poll::until_true(REATTACHED, "the other device is attached", || {
        Ok(agent_output::metric(&node, "lb_agent_attach_problems")? < 0.5)
    })?;
    node.pod(3).ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    Ok(())
}

#[test]
fn a_map_that_counts_for_another_is_not_made_smaller() -> Result<()> {
    let lan = testbed::lan::Lan::new(testbed::lan::Offloads::On)?;
    let node = one_node::node_with_pods(&lan)?;
    for map in [
        "lb_sched",
        "lb_pool_stats",
        "lb_pool_tcp",
        "lb_aff_shares",
        "lb_active",
        "lb_flow_counts",
        "lb_handshakes",
    ] {
        let mut agent = Start::new()
            .args(&["--map-capacity", &format!("{map}=4")])
            .without_waiting(&node)?;
        ensure!(!agent.wait_end()?.success(), "{map}: it started");
        let log = agent.log()?;
        ensure!(
            log.contains(&format!("{map}=4 is less than")),
            "{map}: {log}"
        );
        agent.quiet();
    }
    Ok(())
}
