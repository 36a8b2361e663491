//! The device's own life: kept, mended, taken away; a device of another owner is left alone.

use anyhow::{Context as _, Result, ensure};
use testbed::{
    agent::{self, CHANGE, Start},
    agent_output,
    matrix::{families, kinds},
    one_node::{self, OneNode, PORT},
    poll,
    probe::{Family, Kind},
};

use crate::lb0::common::{CIDRS, pings, routed, routes};

fn one_node() -> Result<OneNode> {
    let start = Start::new().args(&["--service-cidrs", CIDRS]);
    let bed = OneNode::with(start, |node| vec![one_node::web(node)])?;
    routed(&bed.node)?;
    Ok(bed)
}

/// Its index, and that of its other end.
fn indices(bed: &OneNode) -> Result<Option<[u64; 2]>> {
    let mut found = [0; 2];
    for (of, device) in found.iter_mut().zip(["lb0", "lb0p"]) {
        let said = bed.node.output(&["ip", "-json", "link", "show", device])?;
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

fn ip(bed: &OneNode, words: &str) -> Result<String> {
    let line: Vec<&str> = ["ip"].into_iter().chain(words.split(' ')).collect();
    bed.node.run(&line)
}

fn works(bed: &OneNode) -> Result<bool> {
    let vip = one_node::WEB_VIP;
    Ok(pings(bed.client().host(), vip.v4.into())? && pings(&bed.node, vip.v6.into())?)
}

#[test]
fn routes_are_those_of_networks_and_addresses_with_the_nodes_own_as_source() -> Result<()> {
    let bed = one_node()?;
    let wanted = [
        "10.96.0.0/16 scope link src 198.18.0.11".to_owned(),
        "fd66:96::/112 src fd66:18::b metric 1024 pref medium".to_owned(),
    ];
    poll::until_true(CHANGE, "the routes are as they should be", || {
        Ok(routes(&bed.node)? == wanted)
    })
    .with_context(|| format!("{:?}", routes(&bed.node)))?;
    let status = agent::verb(&bed.node, &["status"])?;
    ensure!(status.contains("2 networks routed to it"), "{status}");
    // Another address is the preferred one now.
    ip(&bed, "addr add 198.18.0.77/24 dev eth0")?;
    ip(&bed, "route replace default via 198.18.0.1 src 198.18.0.77")?;
    poll::until_true(CHANGE, "the source follows", || {
        Ok(routes(&bed.node)?
            .iter()
            .any(|r| r.ends_with("src 198.18.0.77")))
    })?;
    Ok(())
}

#[test]
fn without_a_known_network_each_address_is_routed_and_objects_tell_networks() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| vec![one_node::web(node)])?;
    let has = |net: &str| -> Result<bool> {
        Ok(routes(&bed.node)?
            .iter()
            .any(|r| r.starts_with(&format!("{net} "))))
    };
    poll::until_true(CHANGE, "the VIP is routed", || {
        Ok(has("10.96.0.10")? && has("fd66:96::a")?)
    })?;
    let object = "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: kubernetes}\nspec: {cidrs: [10.96.0.0/16]}\n";
    bed.node.write_manifest("cidr.yaml", object)?;
    poll::until_true(CHANGE, "the network is routed", || {
        Ok(has("10.96.0.0/16")? && !has("10.96.0.10")? && has("fd66:96::a")?)
    })?;
    // A network that this machine is on would cut it off.
    let object = object.replace("10.96.0.0/16", "198.18.0.0/16");
    bed.node.write_manifest("cidr.yaml", &object)?;
    poll::until_true(CHANGE, "the network is refused aloud", || {
        Ok(has("10.96.0.10")? && agent_output::metric(&bed.node, "lb_agent_lb0_problems")? > 0.5)
    })?;
    ensure!(!has("198.18.0.0/16")?, "the node is cut off");
    // The service goes, and its routes with it.
    bed.node.remove_manifest("cidr.yaml")?;
    bed.node.remove_manifest("web.yaml")?;
    poll::until_true(CHANGE, "nothing is routed", || {
        Ok(routes(&bed.node)?.is_empty())
    })
}

#[test]
fn a_restart_touches_nothing_and_a_kill_leaves_it_working() -> Result<()> {
    let mut bed = one_node()?;
    let before = (indices(&bed)?, routes(&bed.node)?);
    // Whatever touches a device or a route is announced.
    let log = bed.node.files().join("monitor");
    let monitor = bed.node.spawn(&["ip", "monitor", "link", "route"], &log)?;
    bed.agent.take().context("it runs")?.kill()?;
    ensure!(works(&bed)?, "it needs its agent");
    let start = Start::new().args(&["--service-cidrs", CIDRS]);
    bed.agent = Some(start.on(&bed.node)?);
    ensure!(works(&bed)?, "a restart broke it");
    // A change at the end, so that everything before has been announced.
    ip(&bed, "link add end0 type veth peer name end1")?;
    let said = poll::until(CHANGE, "the end is announced", || {
        let said = monitor.said()?;
        Ok(said.contains("end0").then_some(said))
    })?;
    ensure!(!said.contains("lb0"), "touched:\n{said}");
    assert_eq!(before, (indices(&bed)?, routes(&bed.node)?));
    Ok(())
}

#[test]
fn what_somebody_breaks_is_mended() -> Result<()> {
    let bed = one_node()?;
    let whole = routes(&bed.node)?;
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
            ip(&bed, line)?;
        }
        poll::until_true(CHANGE, "it is mended", || {
            Ok(routes(&bed.node)? == whole && works(&bed)?)
        })
        .with_context(|| format!("after {lines:?}"))?;
    }
    // And what is not wanted goes.
    ip(&bed, "route add 203.0.113.0/24 dev lb0")?;
    poll::until_true(CHANGE, "the stray route goes", || {
        Ok(!ip(&bed, "route show dev lb0")?.contains("203.0.113.0"))
    })
}

#[test]
fn the_name_of_somebody_elses_device_is_told_and_the_device_left_alone() -> Result<()> {
    let mut bed = one_node()?;
    bed.agent.take().context("it runs")?.stop()?;
    agent::verb(&bed.node, &["cleanup"])?;
    ensure!(indices(&bed)?.is_none(), "cleanup left the device");
    ip(&bed, "link add lb0 type bridge")?;
    bed.agent = Some(
        Start::new()
            .args(&["--service-cidrs", CIDRS])
            .on(&bed.node)?,
    );
    // The device is looked at beside the event loop, so an agent is ready before it tells.
    poll::until_true(CHANGE, "a metric tells it", || {
        Ok(agent_output::metric(&bed.node, "lb_agent_lb0_problems")? > 0.5)
    })?;
    let check = bed.node.output(&[
        agent::binary()?.display().to_string().as_str(),
        "check",
        "--bpf-dir",
        &bed.node.bpf_dir().display().to_string(),
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
    ensure!(ip(&bed, "-d link show lb0")?.contains("bridge"));
    // Sockets are translated all the same.
    for family in families() {
        bed.client()
            .ask(Kind::Tcp, one_node::WEB_VIP.at(family, PORT))?;
    }
    // Its owner takes it away, and ours comes.
    ip(&bed, "link del lb0")?;
    poll::until_true(CHANGE, "the VIP answers ping", || works(&bed))
}

#[test]
fn switched_off_and_cleaned_up_it_is_gone() -> Result<()> {
    let mut bed = one_node()?;
    bed.agent.take().context("it runs")?.stop()?;
    let mut off = Start::new().args(&["--lb0", "off"]).on(&bed.node)?;
    off.quiet();
    ensure!(indices(&bed)?.is_none(), "--lb0 off left the device");
    off.stop()?;
    let mut on = Start::new().on(&bed.node)?;
    on.quiet();
    poll::until_true(CHANGE, "the VIP answers ping", || works(&bed))?;
    on.stop()?;
    agent::verb(&bed.node, &["cleanup"])?;
    ensure!(indices(&bed)?.is_none(), "cleanup left the device");
    ensure!(!ip(&bed, "route show table all")?.contains("lb0"));
    Ok(())
}

#[test]
fn an_address_that_is_on_a_device_of_the_node_is_left_alone() -> Result<()> {
    // As a name server of the node's own has it, which binds the cluster's DNS address to a dummy
    // device.
    let bed = one_node()?;
    let vip = one_node::WEB_VIP;
    ip(&bed, "link add local0 type bridge")?;
    ip(&bed, "link set local0 up")?;
    ip(&bed, &format!("addr add {}/32 dev local0", vip.v4))?;
    ip(&bed, &format!("addr add {}/128 dev local0 nodad", vip.v6))?;
    for family in families() {
        let to = vip.at(family, PORT);
        for kind in kinds() {
            bed.node.listen(kind, to, "node-local")?;
            for host in [bed.client().host(), &bed.node] {
                poll::until_true(CHANGE, "the node's own listener answers", || {
                    Ok(host.ask(kind, to).is_ok_and(|a| a.name == "node-local"))
                })?;
            }
        }
    }
    // It goes, and the service has its address back.
    ip(&bed, "link del local0")?;
    poll::until_true(CHANGE, "the service answers again", || {
        let to = vip.at(Family::V4, PORT);
        Ok(bed
            .client()
            .ask(Kind::Tcp, to)
            .is_ok_and(|a| a.name != "node-local"))
    })
}

#[test]
fn a_host_that_does_not_forward_is_told() -> Result<()> {
    let bed = one_node()?;
    let check = || -> Result<String> {
        let binary = agent::binary()?.display().to_string();
        let dir = bed.node.bpf_dir().display().to_string();
        Ok(bed
            .node
            .output(&[binary.as_str(), "check", "--bpf-dir", &dir])?
            .stdout)
    };
    ensure!(check()?.contains("ok    IPv4 forwarding"));
    bed.node.netns().sysctls(&[("net/ipv4/ip_forward", "0")])?;
    ensure!(
        check()?.contains("net.ipv4.ip_forward is 0"),
        "{}",
        check()?
    );
    Ok(())
}
