//! The agent's life: restarts, kills and upgrades while connections are open and new ones come, and
//! its end.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    agent::{self, CHANGE, Start},
    agent_output,
    lan::Client,
    matrix::{families, kinds},
    one_node::{self, NODE_PORT, OneNode, PORT, WEB, WEB_VIP},
    poll,
    probe::{Family, Hammer, HammerPlan, Kind, Sock},
};

/// What the agent writes when the cluster changes, as bytes. Arrays are long, and read through `get
/// services`.
fn config_maps(bed: &OneNode) -> Result<String> {
    let mut all = String::new();
    for map in ["lb_frontends", "lb_nodeports", "lb_nodeaddrs", "lb_members"] {
        let pin = bed.node.map_pin(map);
        let text = bed
            .node
            .run(&["bpftool", "-j", "map", "dump", "pinned", &pin])?;
        let mut entries: Vec<serde_json::Value> =
            serde_json::from_str(&text).context("read bpftool's JSON")?;
        entries.sort_by_cached_key(ToString::to_string);
        writeln!(all, "{map}: {entries:?}")?;
    }
    Ok(all)
}

#[test]
fn a_restart_with_nothing_changed_writes_nothing_and_keeps_ids() -> Result<()> {
    let mut bed = OneNode::new()?;
    let (maps, frontends) = (config_maps(&bed)?, agent_output::frontends(&bed.node)?);
    ensure!(!frontends.is_empty());
    for gently in [true, false] {
        let agent = bed.agent.take().context("it runs")?;
        if gently {
            ensure!(agent.stop()?.success(), "SIGTERM is an ordinary end");
        } else {
            agent.kill()?;
        }
        bed.agent = Some(Start::new().on(&bed.node)?);
        // What is retired is cleared after a second without changes: it counts too.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        ensure!(
            agent_output::metric_sum(&bed.node, "lb_agent_map_writes_total")? < 0.5,
            "the restart wrote to maps"
        );
        assert_eq!(config_maps(&bed)?, maps);
        assert_eq!(agent_output::frontends(&bed.node)?, frontends);
    }
    Ok(())
}

#[test]
fn what_changed_while_no_agent_ran_is_picked_up() -> Result<()> {
    let mut bed = OneNode::with(Start::new(), |node| {
        let pods = one_node::web_pods(node);
        let other =
            one_node::behind("other", testbed::addr::vip(90), &pods).port(PORT, one_node::TARGET);
        vec![one_node::web(node), other]
    })?;
    let all = one_node::web_pods(&bed.node);
    let ids = |bed: &OneNode| -> Result<Vec<(String, u32)>> {
        let frontend = agent_output::frontend(&bed.node, "TCP", &WEB_VIP.v4.to_string(), PORT)?;
        Ok(frontend
            .backends
            .into_iter()
            .map(|backend| (backend.address, backend.id))
            .collect())
    };
    let before = ids(&bed)?;
    bed.agent.take().context("it runs")?.kill()?;
    bed.apply(&one_node::web(&bed.node).endpoints(all[1..].to_vec()))?;
    bed.node.remove_manifest("other.yaml")?;
    let third =
        one_node::behind("third", testbed::addr::vip(91), &all).port(PORT, one_node::TARGET);
    bed.apply(&third)?;
    bed.agent = Some(Start::new().on(&bed.node)?);
    assert_eq!(ids(&bed)?, before[1..], "who stayed has its id still");
    bed.client()
        .ask(Kind::Tcp, third.vip().at(Family::V4, PORT))?;
    let left = agent_output::frontends(&bed.node)?;
    ensure!(
        left.iter().all(|frontend| frontend.address != "10.96.0.90"),
        "a deleted service is still there"
    );
    Ok(())
}

/// Connections that are open all the time, each with the backend that it has.
struct Held {
    socks: Vec<(String, Sock, String)>,
    unconnected: Vec<(Sock, std::net::SocketAddr, String)>,
}

impl Held {
    fn open(bed: &OneNode, outside: &Client) -> Result<Self> {
        let mut held = Self {
            socks: Vec::new(),
            unconnected: Vec::new(),
        };
        for family in families() {
            let (vip, node_port) = (
                WEB_VIP.at(family, PORT),
                bed.node.addr().at(family, NODE_PORT),
            );
            for kind in kinds() {
                for (who, from, to) in [
                    ("pod", bed.client().host(), vip),
                    ("outside", outside.host(), node_port),
                ] {
                    let sock = from.connect(kind, to)?;
                    let name = sock.ask("before")?.name;
                    held.socks
                        .push((format!("{who} {kind:?} {to}"), sock, name));
                }
            }
            let sock = bed.client().socket(Kind::Udp, family)?;
            let name = sock.ask_at(vip, "before")?.name;
            held.unconnected.push((sock, vip, name));
        }
        Ok(held)
    }

    fn check(&self, when: &str) -> Result<()> {
        for (what, sock, name) in &self.socks {
            let answer = sock.ask(when).with_context(|| format!("{what} {when}"))?;
            ensure!(
                answer.name == *name,
                "{what} {when}: {} answered instead of {name}",
                answer.name
            );
        }
        for (sock, to, name) in &self.unconnected {
            let answer = sock
                .ask_at(*to, when)
                .with_context(|| format!("unconnected {to} {when}"))?;
            ensure!(
                answer.name == *name && answer.from == Some(*to),
                "unconnected {to} {when}: {answer:?}"
            );
        }
        Ok(())
    }
}

fn hammers(bed: &OneNode, outside: &Client) -> Result<Vec<(&'static str, Hammer)>> {
    let allowed: Vec<String> = WEB.map(str::to_owned).into();
    let plan = |kind, connected, to| HammerPlan {
        kind,
        connected,
        to,
        allowed: allowed.clone(),
    };
    let vip = |family| WEB_VIP.at(family, PORT);
    let node_port = |family| bed.node.addr().at(family, NODE_PORT);
    let pod = bed.client();
    Ok(vec![
        ("tcp", pod.hammer(plan(Kind::Tcp, true, vip(Family::V4)))?),
        (
            "tcp, v6",
            pod.hammer(plan(Kind::Tcp, true, vip(Family::V6)))?,
        ),
        ("udp", pod.hammer(plan(Kind::Udp, true, vip(Family::V4)))?),
        (
            "udp, unconnected",
            pod.hammer(plan(Kind::Udp, false, vip(Family::V6)))?,
        ),
        (
            "node port, tcp",
            outside.hammer(plan(Kind::Tcp, true, node_port(Family::V4)))?,
        ),
        (
            "node port, udp",
            outside.hammer(plan(Kind::Udp, true, node_port(Family::V6)))?,
        ),
    ])
}

/// `pass` is done to the running agent while connections are opened in loops; each must have been
/// opened meanwhile, and none may have failed.
fn nobody_notices(
    start: Start,
    pass: impl FnOnce(&mut OneNode, &Held) -> Result<()>,
) -> Result<()> {
    let mut bed = OneNode::with(start, |node| vec![one_node::web(node)])?;
    let outside = bed.lan.client(1)?;
    let held = Held::open(&bed, &outside)?;
    let loops = hammers(&bed, &outside)?;
    pass(&mut bed, &held)?;
    held.check("at the end")?;
    for (name, hammer) in loops {
        let tally = hammer.stop()?;
        ensure!(
            tally.failures.is_empty() && tally.attempts > 50,
            "{name}: {tally:?}"
        );
    }
    Ok(())
}

#[test]
fn connections_survive_kill_9_and_restarts() -> Result<()> {
    nobody_notices(Start::new(), |bed, held| {
        for round in 0..3 {
            let agent = bed.agent.take().context("it runs")?;
            if round == 1 {
                agent.stop()?;
            } else {
                agent.kill()?;
            }
            held.check("with no agent")?;
            bed.agent = Some(Start::new().on(&bed.node)?);
            held.check("after the restart")?;
        }
        Ok(())
    })
}

#[test]
fn connections_survive_a_restart_behind_xdp() -> Result<()> {
    nobody_notices(Start::new().xdp("eth0"), |bed, held| {
        for _ in 0..2 {
            bed.agent.take().context("it runs")?.kill()?;
            held.check("with no agent")?;
            bed.agent = Some(Start::new().xdp("eth0").on(&bed.node)?);
            held.check("after the restart")?;
        }
        Ok(())
    })
}

#[test]
fn connections_survive_an_upgrade() -> Result<()> {
    nobody_notices(Start::new(), |bed, held| {
        let newer = bed.node.files().join("lb-agent-next");
        fs::copy(agent::binary()?, &newer).context("copy the agent")?;
        bed.agent.take().context("it runs")?.stop()?;
        bed.agent = Some(Start::new().binary(&newer).on(&bed.node)?);
        held.check("after the upgrade")
    })
}

#[test]
fn connections_survive_an_upgrade_to_maps_that_do_not_fit() -> Result<()> {
    nobody_notices(Start::new(), |bed, held| {
        for services in ["lb_frontends=4096", "lb_frontends=8192"] {
            bed.agent.take().context("it runs")?.kill()?;
            let next = Start::new().args(&["--map-capacity", services]);
            bed.agent = Some(next.on(&bed.node)?);
            held.check("with other maps")?;
        }
        Ok(())
    })
}

#[test]
fn connections_survive_changes_and_kills_in_their_middle() -> Result<()> {
    nobody_notices(Start::new(), |bed, held| {
        let all = one_node::web_pods(&bed.node);
        let bystander = testbed::addr::vip(92);
        // In each file another pod gets no new connections, though it serves those that it has; and
        // a service of its own comes, grows and goes.
        let files: Vec<[(PathBuf, String); 2]> = (0..3)
            .map(|n| {
                let mut some = all.clone();
                (some[n].ready, some[n].terminating) = (false, true);
                let web = one_node::web(&bed.node).endpoints(some);
                let other = one_node::behind("bystander", bystander, &all[..n]).port(PORT, 8080);
                [web, other].map(|s| (bed.node.manifests().join(s.file()), s.yaml()))
            })
            .collect();
        for _ in 0..4 {
            let syncs = || agent_output::metric(&bed.node, "lb_agent_syncs_total{result=\"ok\"}");
            let before = syncs()?;
            let end = AtomicBool::new(false);
            thread::scope(|scope| {
                // Changes without a pause, so that the kill finds the agent at work.
                scope.spawn(|| {
                    for (path, yaml) in files.iter().flatten().cycle() {
                        if end.load(Ordering::Relaxed) {
                            break;
                        }
                        let draft = path.with_extension("draft");
                        fs::write(&draft, yaml)
                            .and_then(|()| fs::rename(&draft, path))
                            .expect("write a manifest");
                    }
                });
                let killed = poll::until_true(CHANGE, "it follows the changes", || {
                    Ok(syncs()? >= before + 3.0)
                })
                .and_then(|()| bed.agent.take().context("it runs")?.kill());
                end.store(true, Ordering::Relaxed);
                killed
            })?;
            held.check("killed while it wrote")?;
            bed.agent = Some(Start::new().on(&bed.node)?);
            held.check("after the restart")?;
        }
        Ok(())
    })
}

/// The maps' pins, by file name.
fn map_pins(bed: &OneNode) -> Result<Vec<String>> {
    let dir = bed.node.bpf_dir().join("maps");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The last agent before the maps were named anew is installed, connections are opened, and this
/// one takes over.
fn upgrade_from_the_previous_agent(start: fn() -> Start) -> Result<()> {
    let previous = agent::previous()?;
    nobody_notices(start().binary(&previous), |bed, held| {
        let before = map_pins(bed)?;
        ensure!(before.contains(&"lb_services".to_owned()), "{before:?}");
        bed.agent.take().context("it runs")?.stop()?;
        held.check("with no agent")?;
        bed.agent = Some(start().on(&bed.node)?);
        held.check("after the upgrade")?;

        let log = bed.agent.as_ref().context("it runs")?.log()?;
        ensure!(!log.contains("may break"), "{log}");
        let after = map_pins(bed)?;
        let stale: Vec<_> = ["lb_services", "lb_svc", "lb_svc_stats"]
            .into_iter()
            .filter(|name| after.iter().any(|pin| pin == name))
            .collect();
        ensure!(stale.is_empty(), "pins of the old names stayed: {stale:?}");
        // Connections that opened while the counts were copied are found by a recount, repaired by the
        // next one, and no more there in the third: 5 s lie between two.
        poll::until_true(2 * CHANGE, "open connections are counted right", || {
            Ok(agent_output::metric(&bed.node, "lb_agent_connections_drift")?.abs() < 0.5)
        })?;

        // And a restart of the new one finds all as it is.
        bed.agent.take().context("it runs")?.kill()?;
        bed.agent = Some(start().on(&bed.node)?);
        held.check("after a restart of the new agent")
    })
}

#[test]
fn connections_survive_the_upgrade_from_maps_of_other_names() -> Result<()> {
    upgrade_from_the_previous_agent(Start::new)
}

#[test]
fn connections_survive_the_upgrade_from_maps_of_other_names_behind_xdp() -> Result<()> {
    upgrade_from_the_previous_agent(|| Start::new().xdp("eth0"))
}
