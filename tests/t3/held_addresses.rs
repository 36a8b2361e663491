//! Cluster IPs that a device of the node has: ports that a process serves there are its own, the
//! others are the Service's; what other proxies left behind silences nothing, and is told.

use std::{io, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr,
    agent::{self, CHANGE, Start},
    agent_output,
    host::Host,
    matrix::{Case, families, kinds, matrix},
    one_node::{self, OneNode, TARGET, WEB, WEB_VIP},
    poll,
    probe::{Answer, Family, Kind},
};

/// As kube-dns' one.
const DNS_VIP: addr::Both = addr::vip(53);
const DNS: u16 = 53;
const METRICS: u16 = 9153;
/// On `lo`, as somebody who looked for an error left it.
const RELIC_VIP: addr::Both = addr::vip(54);
const VIPS: [addr::Both; 2] = [WEB_VIP, RELIC_VIP];

fn hold(bed: &OneNode, device: &str, vip: addr::Both) -> Result<()> {
    let [v4, v6] = [Family::V4, Family::V6].map(|family| vip.ip(family));
    if device != "lo" {
        // The device of such a proxy is of kind dummy, which this kernel may lack.
        bed.node.netns().ip(&format!(
            "link add {device} type veth peer name other\nlink set {device} up\n"
        ))?;
    }
    bed.node.netns().ip(&format!(
        "addr add {v4}/32 dev {device}\naddr add {v6}/128 dev {device} nodad\n"
    ))
}

fn by_a_pod(from: &Host, kind: Kind, to: SocketAddr) -> io::Result<Option<Answer>> {
    let answer = from.ask(kind, to)?;
    Ok(WEB.contains(&answer.name.as_str()).then_some(answer))
}

#[test]
fn a_cache_on_the_node_keeps_its_ports_and_no_others() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| {
        vec![
            one_node::behind("kube-dns", DNS_VIP, &one_node::web_pods(node))
                .port(DNS, TARGET)
                .port(METRICS, TARGET),
        ]
    })?;
    hold(&bed, "nodelocaldns", DNS_VIP)?;
    let mut listeners = Vec::new();
    for Case { family, kind } in matrix() {
        listeners.push(bed.node.listen(kind, DNS_VIP.at(family, DNS), "cache")?);
    }
    let hosts = [bed.client() as &Host, &bed.node];
    for Case { family, kind } in matrix() {
        for from in hosts {
            let to = DNS_VIP.at(family, DNS);
            poll::until_true(CHANGE, &format!("{kind:?} {to}: the cache answers"), || {
                Ok(from
                    .ask(kind, to)
                    .is_ok_and(|answer| answer.name == "cache"))
            })?;
            let to = DNS_VIP.at(family, METRICS);
            for _ in 0..5 {
                let answer = by_a_pod(from, kind, to).with_context(|| format!("{kind:?} {to}"))?;
                ensure!(answer.is_some(), "{kind:?} {to}: not a pod");
            }
        }
    }
    // The cache dies and its device stays: the Service answers, as it does where there is none.
    for listener in listeners {
        bed.node.unlisten(listener)?;
    }
    for Case { family, kind } in matrix() {
        for from in hosts {
            let to = DNS_VIP.at(family, DNS);
            poll::until_true(CHANGE, &format!("{kind:?} {to}: a pod answers"), || {
                Ok(by_a_pod(from, kind, to).is_ok_and(|answer| answer.is_some()))
            })?;
        }
    }
    Ok(())
}

/// A process that listens everywhere does not mean the cluster IP.
#[test]
fn a_listener_on_every_address_takes_nothing() -> Result<()> {
    let bed = OneNode::new()?;
    hold(&bed, "lo", WEB_VIP)?;
    for family in families() {
        let any = match family {
            Family::V4 => "0.0.0.0:80",
            Family::V6 => "[::]:80",
        };
        let listener = bed.node.listen(Kind::Tcp, any.parse()?, "everywhere")?;
        // Longer than the agent takes between two looks.
        std::thread::sleep(std::time::Duration::from_secs(3));
        let to = WEB_VIP.at(family, one_node::PORT);
        ensure!(by_a_pod(&bed.node, Kind::Tcp, to)?.is_some(), "{to}");
        bed.node.unlisten(listener)?;
    }
    Ok(())
}

#[test]
fn what_another_proxy_left_behind_is_told_and_removed_and_silences_nothing() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| {
        let relic = one_node::behind("relic", RELIC_VIP, &one_node::web_pods(node));
        vec![one_node::web(node), relic.port(one_node::PORT, TARGET)]
    })?;
    hold(&bed, "kube-dummy-if", WEB_VIP)?;
    hold(&bed, "lo", RELIC_VIP)?;
    let outside = bed.lan.client(1)?;
    let via = bed.node.addr();
    for vip in VIPS {
        outside.netns().ip(&format!(
            "route add {} via {}\nroute add {} via {}\n",
            vip.v4, via.v4, vip.v6, via.v6
        ))?;
    }
    let agent = bed.agent.as_ref().context("it runs")?;
    for device in ["kube-dummy-if", "lo"] {
        poll::until_true(CHANGE, &format!("{device} is told"), || {
            Ok(agent
                .log()?
                .lines()
                .any(|line| line.contains("the device has cluster IPs") && line.contains(device)))
        })?;
    }
    let devices = || agent_output::metric(&bed.node, "lb_agent_devices_with_cluster_ips");
    poll::until_true(CHANGE, "a metric counts both", || {
        Ok((devices()? - 2.0).abs() < 0.5)
    })?;
    for kind in kinds() {
        for family in families() {
            for to in VIPS.map(|vip| vip.at(family, one_node::PORT)) {
                for from in [bed.client() as &Host, &bed.node, &outside] {
                    let answer = by_a_pod(from, kind, to);
                    let answer = answer.with_context(|| format!("{kind:?} {to}"))?;
                    ensure!(answer.is_some(), "{kind:?} {to}: not a pod");
                }
            }
        }
    }
    let told = agent::verb(&bed.node, &["check"]).unwrap_or_else(|e| format!("{e:#}"));
    ensure!(
        told.contains("devices of this node have cluster IPs") && told.contains("kube-dummy-if ("),
        "{told}"
    );
    let removed = agent::verb(&bed.node, &["cleanup", "--kube-proxy"])?;
    ensure!(removed.contains("device kube-dummy-if"), "{removed}");
    let left = bed.node.run(&["ip", "-o", "address"])?;
    poll::until_true(CHANGE, "the metric falls", || Ok(devices()? < 0.5))?;
    for vip in VIPS {
        for ip in vip.ips() {
            ensure!(!left.contains(&format!("{ip}/")), "{left}");
        }
    }
    Ok(())
}
