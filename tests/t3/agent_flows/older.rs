use anyhow::{Result, ensure};
use lb_agent::maps::{
    dir::BpfDir,
    pinned::{Access, HashPin},
    table::HashTable as _,
};
use lb_common::{Addr, flow::FlowKey, maps};
use testbed::{
    addr,
    agent::{CHANGE, Start},
    lan::{Lan, Offloads},
    manifest::{self, Service},
    matrix::families,
    node::Node,
    one_node::{self, PORT, TARGET, node_with_pods},
    poll,
    probe::{Family, Kind, Sock},
};

/// A port of the outside host, and the number that node port and pod share.
const OUTSIDE: u16 = 4443;
const SHARED: u16 = 31234;

/// Netfilter tracks connections, and what pods send out gets the node's address.
const RULES: &str = "add table inet outside; \
    add chain inet outside post { type nat hook postrouting priority 100; }; \
    add rule inet outside post oifname eth0 masquerade";

/// The tuples of answers that the agent and the programs have learnt.
fn learnt(node: &Node) -> Result<Vec<FlowKey>> {
    let dir = BpfDir::at(node.bpf_dir());
    let foreign: HashPin<FlowKey, u32> = HashPin::open(&dir, maps::FOREIGN, Access::Read)?;
    Ok(foreign.entries()?.into_iter().map(|(key, _)| key).collect())
}

/// The tuple of what answers this socket, which netfilter gives `source` in the place of its
/// address.
fn answers(sock: &Sock, source: Option<std::net::IpAddr>) -> Result<FlowKey> {
    let (peer, local) = (sock.peer()?, sock.local()?);
    Ok(FlowKey {
        src: Addr::from(peer.ip()),
        dst: Addr::from(source.unwrap_or(local.ip())),
        sport: peer.port(),
        dport: local.port(),
        proto: 6,
        pad: [0; 3],
    })
}

#[test]
fn connections_that_are_older_than_the_agent_keep_their_tuples() -> Result<()> {
    let lan = Lan::new(Offloads::On)?;
    let node = node_with_pods(&lan)?;
    node.run(&["nft", RULES])?;
    let (outside, pod) = (lan.client(1)?, node.pod(0));
    let mut open = Vec::new();
    for family in families() {
        let pods = match family {
            Family::V4 => addr::pod(1, 0).v4.to_string() + "/24",
            Family::V6 => addr::pod(1, 0).v6.to_string() + "/64",
        };
        let via = node.addr().ip(family);
        outside
            .netns()
            .ip(&format!("route replace {pods} via {via}\n"))?;
        let sock = outside.connect(Kind::Tcp, pod.addr().at(family, TARGET))?;
        sock.ask("before the agent")?;
        open.push(sock);
    }
    node.write_manifest("node.yaml", &manifest::node(&node))?;
    let web = one_node::web(&node);
    node.write_manifest(&web.file(), &web.yaml())?;
    let _agent = Start::new().on(&node)?;
    for sock in &open {
        let key = answers(sock, None)?;
        poll::until_true(CHANGE, "the older connection is known", || {
            Ok(learnt(&node)?.contains(&key))
        })?;
    }
    for sock in &open {
        sock.ask("after")?;
    }
    Ok(())
}

#[test]
fn a_new_node_port_leaves_a_pods_connection_with_its_number_alone() -> Result<()> {
    let lan = Lan::new(Offloads::On)?;
    let node = node_with_pods(&lan)?;
    node.run(&["nft", RULES])?;
    node.write_manifest("node.yaml", &manifest::node(&node))?;
    let web = one_node::web(&node);
    node.write_manifest(&web.file(), &web.yaml())?;
    let _agent = Start::new().on(&node)?;
    let outside = lan.client(1)?;
    let client = node.pod(one_node::WEB.len());
    let mut open = Vec::new();
    for family in families() {
        let to = outside.addr.at(family, OUTSIDE);
        outside.listen(Kind::Tcp, to, "outside")?;
        let sock = client.socket(Kind::Tcp, family)?;
        sock.bind(client.addr().at(family, SHARED))?;
        sock.connect(to)?;
        ensure!(sock.ask("before")?.name == "outside");
        let key = answers(&sock, Some(node.addr().ip(family)))?;
        ensure!(
            !learnt(&node)?.contains(&key),
            "no node port has its number"
        );
        open.push((sock, key));
    }
    let shared = Service::new("shared", addr::vip(61))
        .node_port(PORT, TARGET, SHARED)
        .endpoints(one_node::web_pods(&node));
    node.write_manifest(&shared.file(), &shared.yaml())?;
    let other = lan.client(2)?;
    poll::until_true(CHANGE, "the node port answers", || {
        Ok(other
            .ask(Kind::Tcp, node.addr().at(Family::V4, SHARED))
            .is_ok())
    })?;
    for (sock, key) in &open {
        // Without a packet of theirs.
        ensure!(learnt(&node)?.contains(key), "{key:?} is not known");
        ensure!(sock.ask("after")?.name == "outside");
    }
    Ok(())
}
