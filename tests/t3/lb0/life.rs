//! The device's own life: kept, mended, taken away, and never somebody else's.

use anyhow::{Context as _, Result, ensure};
use testbed::agent::{self, CHANGE, Start};
use testbed::poll;
use testbed::probe::{Family, Kind};
use testbed::scene::{self, PORT, Scene};
use testbed::shown;

use crate::lb0::common::{CIDRS, FAMILIES, pings, routed, routes};

fn scene() -> Result<Scene> {
    let start = Start::new().args(&["--service-cidrs", CIDRS]);
    let scene = Scene::with(start, |node| vec![scene::web(node)])?;
    routed(&scene.node)?;
    Ok(scene)
}

/// Its index, and that of its other end.
fn indices(scene: &Scene) -> Result<Option<[u64; 2]>> {
    let mut found = [0; 2];
    for (of, device) in found.iter_mut().zip(["lb0", "lb0p"]) {
        let said = scene
            .node
            .output(&["ip", "-json", "link", "show", device])?;
        if !said.status.success() {
            return Ok(None);
        }
        let shown: serde_json::Value = serde_json::from_str(&said.stdout)?;
        *of = shown[0]["ifindex"]
            .as_u64()
            .context("a device has an index")?;
    }
    Ok(Some(found))
}

fn ip(scene: &Scene, words: &str) -> Result<String> {
    let line: Vec<&str> = ["ip"].into_iter().chain(words.split(' ')).collect();
    scene.node.run(&line)
}

fn works(scene: &Scene) -> Result<bool> {
    let vip = scene::WEB_VIP;
    Ok(pings(scene.client().host(), vip.v4.into())? && pings(&scene.node, vip.v6.into())?)
}

#[test]
fn routes_are_those_of_networks_and_addresses_with_the_nodes_own_as_source() -> Result<()> {
    let scene = scene()?;
    let wanted = [
        "10.96.0.0/16 scope link src 198.18.0.11".to_owned(),
        "fd66:96::/112 src fd66:18::b metric 1024 pref medium".to_owned(),
    ];
    poll::until_true(CHANGE, "the routes are as they should be", || {
        Ok(routes(&scene.node)? == wanted)
    })
    .with_context(|| format!("{:?}", routes(&scene.node)))?;
    let status = agent::verb(&scene.node, &["status"])?;
    ensure!(status.contains("2 networks are routed there"), "{status}");
    // Another address is the preferred one now.
    ip(&scene, "addr add 198.18.0.77/24 dev eth0")?;
    ip(
        &scene,
        "route replace default via 198.18.0.1 src 198.18.0.77",
    )?;
    poll::until_true(CHANGE, "the source follows", || {
        Ok(routes(&scene.node)?
            .iter()
            .any(|r| r.ends_with("src 198.18.0.77")))
    })?;
    Ok(())
}

#[test]
fn without_a_known_network_each_address_is_routed_and_objects_tell_networks() -> Result<()> {
    let scene = Scene::with(Start::new(), |node| vec![scene::web(node)])?;
    let has = |net: &str| -> Result<bool> {
        Ok(routes(&scene.node)?
            .iter()
            .any(|r| r.starts_with(&format!("{net} "))))
    };
    poll::until_true(CHANGE, "the VIP is routed", || {
        Ok(has("10.96.0.10")? && has("fd66:96::a")?)
    })?;
    let object = "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: kubernetes}\nspec: {cidrs: [10.96.0.0/16]}\n";
    scene.node.write_manifest("cidr.yaml", object)?;
    poll::until_true(CHANGE, "the network is routed", || {
        Ok(has("10.96.0.0/16")? && !has("10.96.0.10")? && has("fd66:96::a")?)
    })?;
    // A network that this machine is on would cut it off.
    let object = object.replace("10.96.0.0/16", "198.18.0.0/16");
    scene.node.write_manifest("cidr.yaml", &object)?;
    poll::until_true(CHANGE, "the network is refused aloud", || {
        Ok(has("10.96.0.10")? && shown::metric(&scene.node, "lb_lb0_problems")? > 0.5)
    })?;
    ensure!(!has("198.18.0.0/16")?, "the node is cut off");
    // The service goes, and its routes with it.
    scene.node.remove_manifest("cidr.yaml")?;
    scene.node.remove_manifest("web.yaml")?;
    poll::until_true(CHANGE, "nothing is routed", || {
        Ok(routes(&scene.node)?.is_empty())
    })
}

#[test]
fn a_restart_touches_nothing_and_a_kill_leaves_it_working() -> Result<()> {
    let mut scene = scene()?;
    let before = (indices(&scene)?, routes(&scene.node)?);
    // Whatever touches a device or a route is announced.
    let log = scene.node.files().join("monitor");
    let monitor = scene
        .node
        .spawn(&["ip", "monitor", "link", "route"], &log)?;
    scene.agent.take().context("it runs")?.kill()?;
    ensure!(works(&scene)?, "it needs its agent");
    let start = Start::new().args(&["--service-cidrs", CIDRS]);
    scene.agent = Some(start.on(&scene.node)?);
    ensure!(works(&scene)?, "a restart broke it");
    // A change at the end, so that everything before has been announced.
    ip(&scene, "link add end0 type veth peer name end1")?;
    let said = poll::until(CHANGE, "the end is announced", || {
        let said = monitor.said()?;
        Ok(said.contains("end0").then_some(said))
    })?;
    ensure!(!said.contains("lb0"), "touched:\n{said}");
    assert_eq!(before, (indices(&scene)?, routes(&scene.node)?));
    Ok(())
}

#[test]
fn what_somebody_breaks_is_mended() -> Result<()> {
    let scene = scene()?;
    let whole = routes(&scene.node)?;
    let breaks: [&[&str]; 6] = [
        &["route del 10.96.0.0/16 dev lb0"],
        &["-6 route flush dev lb0p", "route flush dev lb0"],
        &["link set lb0 down"],
        &["link set lb0p down", "link set lb0p arp on"],
        &["link set lb0 address 02:00:00:00:00:99"],
        &["link del lb0"],
    ];
    for lines in breaks {
        for line in lines {
            ip(&scene, line)?;
        }
        poll::until_true(CHANGE, "it is mended", || {
            Ok(routes(&scene.node)? == whole && works(&scene)?)
        })
        .with_context(|| format!("after {lines:?}"))?;
    }
    // And what is not wanted goes.
    ip(&scene, "route add 203.0.113.0/24 dev lb0")?;
    poll::until_true(CHANGE, "the stray route goes", || {
        Ok(!ip(&scene, "route show dev lb0")?.contains("203.0.113.0"))
    })
}

#[test]
fn the_name_of_somebody_elses_device_is_told_and_the_device_left_alone() -> Result<()> {
    let mut scene = scene()?;
    scene.agent.take().context("it runs")?.stop()?;
    agent::verb(&scene.node, &["cleanup"])?;
    ensure!(indices(&scene)?.is_none(), "cleanup left the device");
    ip(&scene, "link add lb0 type bridge")?;
    scene.agent = Some(
        Start::new()
            .args(&["--service-cidrs", CIDRS])
            .on(&scene.node)?,
    );
    ensure!(shown::metric(&scene.node, "lb_lb0_problems")? > 0.5);
    let check = scene.node.output(&[
        agent::binary()?.display().to_string().as_str(),
        "check",
        "--bpf-dir",
        &scene.node.bpf_dir().display().to_string(),
    ])?;
    ensure!(!check.status.success());
    ensure!(
        check
            .stdout
            .lines()
            .any(|l| l.starts_with("FAIL") && l.contains("--lb0 off")),
        "{}",
        check.stdout
    );
    ensure!(ip(&scene, "-d link show lb0")?.contains("bridge"));
    // Sockets are translated all the same.
    for family in FAMILIES {
        scene
            .client()
            .ask(Kind::Tcp, scene::WEB_VIP.at(family, PORT))?;
    }
    // Its owner takes it away, and ours comes.
    ip(&scene, "link del lb0")?;
    poll::until_true(CHANGE, "the VIP answers ping", || works(&scene))
}

#[test]
fn switched_off_and_cleaned_up_it_is_gone() -> Result<()> {
    let mut scene = scene()?;
    scene.agent.take().context("it runs")?.stop()?;
    let mut off = Start::new().args(&["--lb0", "off"]).on(&scene.node)?;
    off.quiet();
    ensure!(indices(&scene)?.is_none(), "--lb0 off left the device");
    off.stop()?;
    let mut on = Start::new().on(&scene.node)?;
    on.quiet();
    poll::until_true(CHANGE, "the VIP answers ping", || works(&scene))?;
    on.stop()?;
    agent::verb(&scene.node, &["cleanup"])?;
    ensure!(indices(&scene)?.is_none(), "cleanup left the device");
    ensure!(!ip(&scene, "route show table all")?.contains("lb0"));
    Ok(())
}

#[test]
fn an_address_that_is_on_a_device_of_the_node_is_left_alone() -> Result<()> {
    // As a name server of the node's own has it, which binds the cluster's DNS address to a dummy device.
    let scene = scene()?;
    let vip = scene::WEB_VIP;
    ip(&scene, "link add local0 type bridge")?;
    ip(&scene, "link set local0 up")?;
    ip(&scene, &format!("addr add {}/32 dev local0", vip.v4))?;
    ip(&scene, &format!("addr add {}/128 dev local0 nodad", vip.v6))?;
    for family in FAMILIES {
        let to = vip.at(family, PORT);
        for kind in [Kind::Tcp, Kind::Udp] {
            scene.node.listen(kind, to, "node-local")?;
            for host in [scene.client().host(), &scene.node] {
                poll::until_true(CHANGE, "the node's own listener answers", || {
                    Ok(host.ask(kind, to).is_ok_and(|a| a.name == "node-local"))
                })?;
            }
        }
    }
    // It goes, and the service has its address back.
    ip(&scene, "link del local0")?;
    poll::until_true(CHANGE, "the service answers again", || {
        let to = vip.at(Family::V4, PORT);
        Ok(scene
            .client()
            .ask(Kind::Tcp, to)
            .is_ok_and(|a| a.name != "node-local"))
    })
}

#[test]
fn a_host_that_does_not_forward_is_told() -> Result<()> {
    let scene = scene()?;
    let check = || -> Result<String> {
        let binary = agent::binary()?.display().to_string();
        let dir = scene.node.bpf_dir().display().to_string();
        Ok(scene
            .node
            .output(&[binary.as_str(), "check", "--bpf-dir", &dir])?
            .stdout)
    };
    ensure!(check()?.contains("ok    IPv4 forwarding"));
    scene
        .node
        .netns()
        .sysctls(&[("net/ipv4/ip_forward", "0")])?;
    ensure!(
        check()?.contains("net.ipv4.ip_forward is 0"),
        "{}",
        check()?
    );
    Ok(())
}
