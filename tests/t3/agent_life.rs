//! The agent's life: restarts, kills and upgrades while connections are open and new ones come, and its end.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use testbed::agent::{self, CHANGE, Start};
use testbed::lan::Client;
use testbed::poll;
use testbed::probe::{Family, Hammer, HammerPlan, Kind, Sock};
use testbed::scene::{self, NODE_PORT, PORT, Scene, WEB, WEB_VIP};
use testbed::shown;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What the agent writes when the cluster changes, as bytes. Arrays are long, and read through `get services`.
fn config_maps(scene: &Scene) -> Result<String> {
    let mut all = String::new();
    for map in ["lb_frontends", "lb_nodeports", "lb_nodeaddrs", "lb_members"] {
        let pin = scene.node.map_pin(map);
        let text = scene
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
    let mut scene = Scene::new()?;
    let (maps, frontends) = (config_maps(&scene)?, shown::frontends(&scene.node)?);
    ensure!(!frontends.is_empty());
    for gently in [true, false] {
        let agent = scene.agent.take().context("it runs")?;
        if gently {
            ensure!(agent.stop()?.success(), "SIGTERM is an ordinary end");
        } else {
            agent.kill()?;
        }
        scene.agent = Some(Start::new().on(&scene.node)?);
        // What is retired is cleared after a second without changes: it counts too.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        ensure!(
            shown::metric_sum(&scene.node, "lb_map_writes_total")? < 0.5,
            "the restart wrote to maps"
        );
        assert_eq!(config_maps(&scene)?, maps);
        assert_eq!(shown::frontends(&scene.node)?, frontends);
    }
    Ok(())
}

#[test]
fn what_changed_while_no_agent_ran_is_picked_up() -> Result<()> {
    let mut scene = Scene::with(Start::new(), |node| {
        let pods = scene::web_pods(node);
        let other = scene::behind("other", testbed::addr::vip(90), &pods).port(PORT, scene::TARGET);
        vec![scene::web(node), other]
    })?;
    let all = scene::web_pods(&scene.node);
    let ids = |scene: &Scene| -> Result<Vec<(String, u32)>> {
        let frontend = shown::frontend(&scene.node, "TCP", &WEB_VIP.v4.to_string(), PORT)?;
        Ok(frontend
            .backends
            .into_iter()
            .map(|backend| (backend.address, backend.id))
            .collect())
    };
    let before = ids(&scene)?;
    scene.agent.take().context("it runs")?.kill()?;
    scene.apply(&scene::web(&scene.node).endpoints(all[1..].to_vec()))?;
    scene.node.remove_manifest("other.yaml")?;
    let third = scene::behind("third", testbed::addr::vip(91), &all).port(PORT, scene::TARGET);
    scene.apply(&third)?;
    scene.agent = Some(Start::new().on(&scene.node)?);
    assert_eq!(ids(&scene)?, before[1..], "who stayed has its id still");
    scene
        .client()
        .ask(Kind::Tcp, third.vip().at(Family::V4, PORT))?;
    let left = shown::frontends(&scene.node)?;
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
    fn open(scene: &Scene, outside: &Client) -> Result<Self> {
        let mut held = Self {
            socks: Vec::new(),
            unconnected: Vec::new(),
        };
        for family in FAMILIES {
            let (vip, knock) = (
                WEB_VIP.at(family, PORT),
                scene.node.addr().at(family, NODE_PORT),
            );
            for kind in [Kind::Tcp, Kind::Udp] {
                for (who, from, to) in [
                    ("pod", scene.client().host(), vip),
                    ("outside", outside.host(), knock),
                ] {
                    let sock = from.connect(kind, to)?;
                    let name = sock.ask("before")?.name;
                    held.socks
                        .push((format!("{who} {kind:?} {to}"), sock, name));
                }
            }
            let sock = scene.client().socket(Kind::Udp, family)?;
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

fn hammers(scene: &Scene, outside: &Client) -> Result<Vec<(&'static str, Hammer)>> {
    let allowed: Vec<String> = WEB.map(str::to_owned).into();
    let plan = |kind, connected, to| HammerPlan {
        kind,
        connected,
        to,
        allowed: allowed.clone(),
    };
    let vip = |family| WEB_VIP.at(family, PORT);
    let knock = |family| scene.node.addr().at(family, NODE_PORT);
    let pod = scene.client();
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
            outside.hammer(plan(Kind::Tcp, true, knock(Family::V4)))?,
        ),
        (
            "node port, udp",
            outside.hammer(plan(Kind::Udp, true, knock(Family::V6)))?,
        ),
    ])
}

/// `pass` is done to the running agent while connections are opened in loops; each must have been opened meanwhile, and none
/// may have failed.
fn nobody_notices(start: Start, pass: impl FnOnce(&mut Scene, &Held) -> Result<()>) -> Result<()> {
    let mut scene = Scene::with(start, |node| vec![scene::web(node)])?;
    let outside = scene.lan.client(1)?;
    let held = Held::open(&scene, &outside)?;
    let loops = hammers(&scene, &outside)?;
    pass(&mut scene, &held)?;
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
    nobody_notices(Start::new(), |scene, held| {
        for round in 0..3 {
            let agent = scene.agent.take().context("it runs")?;
            if round == 1 {
                agent.stop()?;
            } else {
                agent.kill()?;
            }
            held.check("with no agent")?;
            scene.agent = Some(Start::new().on(&scene.node)?);
            held.check("after the restart")?;
        }
        Ok(())
    })
}

#[test]
fn connections_survive_a_restart_behind_xdp() -> Result<()> {
    nobody_notices(Start::new().xdp("eth0"), |scene, held| {
        for _ in 0..2 {
            scene.agent.take().context("it runs")?.kill()?;
            held.check("with no agent")?;
            scene.agent = Some(Start::new().xdp("eth0").on(&scene.node)?);
            held.check("after the restart")?;
        }
        Ok(())
    })
}

#[test]
fn connections_survive_an_upgrade() -> Result<()> {
    nobody_notices(Start::new(), |scene, held| {
        let newer = scene.node.files().join("lb-agent-next");
        fs::copy(agent::binary()?, &newer).context("copy the agent")?;
        scene.agent.take().context("it runs")?.stop()?;
        scene.agent = Some(Start::new().binary(&newer).on(&scene.node)?);
        held.check("after the upgrade")
    })
}

#[test]
fn connections_survive_an_upgrade_to_maps_that_do_not_fit() -> Result<()> {
    nobody_notices(Start::new(), |scene, held| {
        for services in ["lb_frontends=4096", "lb_frontends=8192"] {
            scene.agent.take().context("it runs")?.kill()?;
            let next = Start::new().args(&["--map-capacity", services]);
            scene.agent = Some(next.on(&scene.node)?);
            held.check("with other maps")?;
        }
        Ok(())
    })
}

#[test]
fn connections_survive_changes_and_kills_in_their_middle() -> Result<()> {
    nobody_notices(Start::new(), |scene, held| {
        let all = scene::web_pods(&scene.node);
        let bystander = testbed::addr::vip(92);
        // In each file another pod gets no new connections, though it serves those that it has; and a service of its own
        // comes, grows and goes.
        let files: Vec<[(PathBuf, String); 2]> = (0..3)
            .map(|n| {
                let mut some = all.clone();
                (some[n].ready, some[n].terminating) = (false, true);
                let web = scene::web(&scene.node).endpoints(some);
                let other = scene::behind("bystander", bystander, &all[..n]).port(PORT, 8080);
                [web, other].map(|s| (scene.node.manifests().join(s.file()), s.yaml()))
            })
            .collect();
        for _ in 0..4 {
            let syncs = || shown::metric(&scene.node, "lb_syncs_total{result=\"ok\"}");
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
                .and_then(|()| scene.agent.take().context("it runs")?.kill());
                end.store(true, Ordering::Relaxed);
                killed
            })?;
            held.check("killed while it wrote")?;
            scene.agent = Some(Start::new().on(&scene.node)?);
            held.check("after the restart")?;
        }
        Ok(())
    })
}

/// The maps' pins, by file name.
fn map_pins(scene: &Scene) -> Result<Vec<String>> {
    let dir = scene.node.bpf_dir().join("maps");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The last agent before the maps were named anew is installed, connections are opened, and this one takes over.
fn upgrade_from_the_previous_agent(start: fn() -> Start) -> Result<()> {
    let previous = agent::previous()?;
    nobody_notices(start().binary(&previous), |scene, held| {
        let before = map_pins(scene)?;
        ensure!(before.contains(&"lb_services".to_owned()), "{before:?}");
        scene.agent.take().context("it runs")?.stop()?;
        held.check("with no agent")?;
        scene.agent = Some(start().on(&scene.node)?);
        held.check("after the upgrade")?;

        let after = map_pins(scene)?;
        let stale: Vec<_> = ["lb_services", "lb_svc", "lb_svc_stats"]
            .into_iter()
            .filter(|name| after.iter().any(|pin| pin == name))
            .collect();
        ensure!(stale.is_empty(), "pins of the old names stayed: {stale:?}");
        let outcome = shown::metric(&scene.node, "lb_connections_drift")?;
        ensure!(outcome.abs() < 0.5, "{outcome} connections are miscounted");

        // And a restart of the new one finds all as it is.
        scene.agent.take().context("it runs")?.kill()?;
        scene.agent = Some(start().on(&scene.node)?);
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
