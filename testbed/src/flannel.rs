//! What flannel sets up on a node with its vxlan backend: bridge, overlay device, neighbours,
//! masquerade rules.

use std::{fs, net::IpAddr};

use anyhow::{Context as _, Result, bail};

use crate::{
    addr::{self, Both},
    netns::Netns,
    process,
    sandbox::Sandbox,
};

/// All pods of the cluster.
const CLUSTER: [&str; 2] = ["10.244.0.0/16", "fd66:244::/48"];

/// The bridge of the node's pods, one overlay device a family, and the rules.
pub(crate) fn bridge(netns: &Netns, number: u8) -> Result<()> {
    let (own, local) = (addr::pod(number, 1), addr::lan(10 + number));
    let Both { v4: net4, v6: net6 } = addr::pod(number, 0);
    netns.ip(&format!(
        "link add cni0 type bridge forward_delay 0 mcast_snooping 0\n\
         link set cni0 up\n\
         addr add {}/24 dev cni0\n\
         addr add {}/64 dev cni0 nodad\n\
         link add flannel.1 type vxlan id 1 local {} dev eth0 dstport 8472 nolearning\n\
         link set flannel.1 up\n\
         addr add {net4}/32 dev flannel.1\n\
         link add flannel-v6.1 type vxlan id 1 local {} dev eth0 dstport 8472 nolearning\n\
         link set flannel-v6.1 up\n\
         addr add {net6}/128 dev flannel-v6.1 nodad\n",
        own.v4, own.v6, local.v4, local.v6
    ))?;
    let nets = [
        (CLUSTER[0], format!("{net4}/24"), "224.0.0.0/4"),
        (CLUSTER[1], format!("{net6}/64"), "ff00::/8"),
    ];
    for (program, (cluster, pods, multicast)) in ["iptables-restore", "ip6tables-restore"]
        .into_iter()
        .zip(nets)
    {
        rules(netns, program, &masquerade(cluster, &pods, multicast))?;
    }
    Ok(())
}

/// What leaves the cluster, or enters it from outside through this node, takes the node's address;
/// between pods nothing changes, nor does what comes from outside to a pod of this node.
fn masquerade(cluster: &str, pods: &str, multicast: &str) -> String {
    format!(
        "*nat\n\
         :FLANNEL-POSTRTG - [0:0]\n\
         -A POSTROUTING -j FLANNEL-POSTRTG\n\
         -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN\n\
         -A FLANNEL-POSTRTG -s {pods} -d {cluster} -j RETURN\n\
         -A FLANNEL-POSTRTG -s {cluster} -d {pods} -j RETURN\n\
         -A FLANNEL-POSTRTG ! -s {cluster} -d {pods} -j RETURN\n\
         -A FLANNEL-POSTRTG -s {cluster} ! -d {multicast} -j MASQUERADE --random-fully\n\
         -A FLANNEL-POSTRTG ! -s {cluster} -d {cluster} -j MASQUERADE --random-fully\n\
         COMMIT\n\
         *filter\n\
         :FLANNEL-FWD - [0:0]\n\
         -A FORWARD -j FLANNEL-FWD\n\
         -A FLANNEL-FWD -s {cluster} -j ACCEPT\n\
         -A FLANNEL-FWD -d {cluster} -j ACCEPT\n\
         COMMIT\n"
    )
}

fn rules(netns: &Netns, program: &str, text: &str) -> Result<()> {
    let file = tempfile::NamedTempFile::new().context("make a file of rules")?;
    fs::write(file.path(), text).context("write the rules")?;
    let sandbox = Sandbox {
        netns: Some(netns.path()),
        ..Default::default()
    };
    let path = file.path().display().to_string();
    process::run(&sandbox, &[program, "--noflush", &path]).map(drop)
}

/// The way from one node to the pods of another: route, permanent neighbour, forwarding entry, as
/// flannel's daemon writes them when the other node appears.
pub(crate) fn route(from: &Netns, to: &Netns, to_number: u8, to_addr: Both) -> Result<()> {
    let net = addr::pod(to_number, 0);
    let ways: [(&str, IpAddr, u8, IpAddr); 2] = [
        ("flannel.1", net.v4.into(), 24, to_addr.v4.into()),
        ("flannel-v6.1", net.v6.into(), 64, to_addr.v6.into()),
    ];
    for (device, network, length, underlay) in ways {
        let mac = mac(to, device)?;
        from.ip(&format!(
            "route add {network}/{length} via {network} dev {device} onlink\n\
             neigh add {network} lladdr {mac} dev {device} nud permanent\n"
        ))?;
        let sandbox = Sandbox {
            netns: Some(from.path()),
            ..Default::default()
        };
        let underlay = underlay.to_string();
        process::run(
            &sandbox,
            &[
                "bridge", "fdb", "append", &mac, "dev", device, "dst", &underlay,
            ],
        )?;
    }
    Ok(())
}

fn mac(netns: &Netns, device: &str) -> Result<String> {
    let sandbox = Sandbox {
        netns: Some(netns.path()),
        ..Default::default()
    };
    let text = process::run(&sandbox, &["ip", "-json", "link", "show", device])?;
    let links: serde_json::Value = serde_json::from_str(&text).context("read ip's JSON")?;
    let Some(mac) = links[0]["address"].as_str() else {
        bail!("{device} has no hardware address: {text}")
    };
    Ok(mac.to_owned())
}
