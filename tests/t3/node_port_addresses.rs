//! On which addresses node ports answer: keywords and networks, combined, and followed while
//! addresses come and go.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use testbed::{
    addr::{Both, LOOPBACK},
    agent::{CHANGE, Start},
    manifest,
    matrix::{Case, families, kinds, matrix},
    one_node::{NODE_PORT, OneNode, web},
    poll,
    probe::{Family, Kind},
};

/// What comes and goes on a device of the node.
const MORE: Both = Both {
    v4: std::net::Ipv4Addr::new(198, 18, 7, 1),
    v6: std::net::Ipv6Addr::new(0xfd66, 0x18, 7, 0, 0, 0, 0, 1),
};

/// A bed whose node ports answer on these, and a client outside that reaches every address of the
/// node.
fn one_node(words: &str) -> Result<(OneNode, testbed::lan::Client)> {
    let start = Start::new().args(&["--node-port-addresses", words]);
    let bed = OneNode::with(start, |node| vec![web(node)])?;
    let client = bed.lan.client(1)?;
    let via = bed.node.addr();
    client.netns().ip(&format!(
        "route add {}/32 via {}\nroute add {}/128 via {}\n",
        MORE.v4, via.v4, MORE.v6, via.v6
    ))?;
    Ok((bed, client))
}

/// `add` or `del`.
fn address(bed: &OneNode, verb: &str) -> Result<()> {
    let flag = if verb == "add" { " nodad" } else { "" };
    bed.node.netns().ip(&format!(
        "addr {verb} {}/32 dev eth0\naddr {verb} {}/128 dev eth0{flag}\n",
        MORE.v4, MORE.v6
    ))
}

/// Polls until pods answer at this address for both protocols, from outside and from the host; or
/// until none answers.
fn answers(bed: &OneNode, client: &testbed::lan::Client, ip: IpAddr, expected: bool) -> Result<()> {
    let to = SocketAddr::new(ip, NODE_PORT);
    for kind in kinds() {
        poll::until(
            CHANGE,
            &format!("{kind:?} {to} answers: {expected}"),
            || {
                for from in [client.host(), &*bed.node] {
                    let found = from.ask(kind, to);
                    ensure!(
                        found.as_ref().is_ok_and(|a| a.name.starts_with("web-")) == expected,
                        "{found:?}"
                    );
                }
                Ok(Some(()))
            },
        )?;
    }
    Ok(())
}

/// As the node has it: both families.
fn both(bed: &OneNode, client: &testbed::lan::Client, addr: Both, expected: bool) -> Result<()> {
    addr.ips()
        .into_iter()
        .try_for_each(|ip| answers(bed, client, ip, expected))
}

#[test]
fn all_are_all_that_there_are_now() -> Result<()> {
    let (bed, client) = one_node("all")?;
    for _ in 0..2 {
        both(&bed, &client, bed.node.addr(), true)?;
        address(&bed, "add")?;
        both(&bed, &client, MORE, true)?;
        address(&bed, "del")?;
        // No device has the address any more, and the kernel's map must not have it either.
        listed(&bed, 2)?;
    }
    Ok(())
}

#[test]
fn networks_admit_what_comes_into_them() -> Result<()> {
    let (bed, client) = one_node("198.18.7.0/24,fd66:18:7::/64")?;
    both(&bed, &client, bed.node.addr(), false)?;
    for _ in 0..2 {
        listed(&bed, 0)?;
        address(&bed, "add")?;
        both(&bed, &client, MORE, true)?;
        both(&bed, &client, bed.node.addr(), false)?;
        address(&bed, "del")?;
    }
    listed(&bed, 0)
}

#[test]
fn primary_are_those_of_the_node_object() -> Result<()> {
    let (bed, client) = one_node("primary")?;
    let node = &bed.node;
    both(&bed, &client, node.addr(), true)?;
    address(&bed, "add")?;
    both(&bed, &client, MORE, false)?;
    // The kubelet reports another address, and then the first one again.
    let yaml = manifest::node(node);
    let moved = yaml
        .replace(&node.addr().v4.to_string(), &MORE.v4.to_string())
        .replace(&node.addr().v6.to_string(), &MORE.v6.to_string());
    ensure!(moved != yaml, "nothing to replace in {yaml}");
    for _ in 0..2 {
        node.write_manifest("node.yaml", &moved)?;
        both(&bed, &client, MORE, true)?;
        both(&bed, &client, node.addr(), false)?;
        node.write_manifest("node.yaml", &yaml)?;
        both(&bed, &client, node.addr(), true)?;
        both(&bed, &client, MORE, false)?;
    }
    Ok(())
}

#[test]
fn words_add_up_and_loopback_is_the_hosts_alone() -> Result<()> {
    let (bed, client) = one_node("localhost,primary,198.18.7.0/24")?;
    both(&bed, &client, bed.node.addr(), true)?;
    address(&bed, "add")?;
    answers(&bed, &client, MORE.v4.into(), true)?;
    answers(&bed, &client, MORE.v6.into(), false)?;
    for Case { family, kind } in matrix() {
        let own = LOOPBACK.at(family, NODE_PORT);
        ensure!(bed.node.ask(kind, own)?.name.starts_with("web-"));
        ensure!(bed.client().ask(kind, own).is_err(), "a pod's is its own");
    }
    Ok(())
}

#[test]
fn localhost_alone_is_closed_to_others() -> Result<()> {
    let (bed, client) = one_node("localhost")?;
    listed(&bed, 0)?;
    both(&bed, &client, bed.node.addr(), false)?;
    for Case { family, kind } in matrix() {
        let own = LOOPBACK.at(family, NODE_PORT);
        ensure!(bed.node.ask(kind, own)?.name.starts_with("web-"));
    }
    // A pod that asks for its node's address is no better off.
    let to = bed.node.addr().at(Family::V4, NODE_PORT);
    ensure!(bed.client().ask(Kind::Tcp, to).is_err());
    Ok(())
}

#[test]
fn loopback_is_closed_unless_a_word_says_so() -> Result<()> {
    let on = |words: &str, open: [bool; 2]| -> Result<()> {
        let (bed, _) = one_node(words)?;
        for (family, open) in families().zip(open) {
            let any = match family {
                Family::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
                Family::V6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
            };
            for kind in kinds() {
                for to in [
                    LOOPBACK.at(family, NODE_PORT),
                    SocketAddr::new(any, NODE_PORT),
                ] {
                    let found = bed.node.ask(kind, to);
                    ensure!(
                        found.as_ref().is_ok_and(|a| a.name.starts_with("web-")) == open,
                        "{words}: {kind:?} {to}: {found:?}"
                    );
                }
            }
        }
        Ok(())
    };
    on("primary", [false, false])?;
    on("primary,127.0.0.0/8", [true, false])?;
    on("all", [true, true])
}

/// Waits until the kernel's map of node addresses has so many.
fn listed(bed: &OneNode, expected: usize) -> Result<()> {
    let pin = bed.node.map_pin("lb_nodeaddrs");
    poll::until_true(CHANGE, &format!("{expected} node addresses"), || {
        let text = bed
            .node
            .run(&["bpftool", "-j", "map", "dump", "pinned", &pin])?;
        let all: Vec<serde_json::Value> = serde_json::from_str(&text)?;
        Ok(all.len() == expected)
    })
}
