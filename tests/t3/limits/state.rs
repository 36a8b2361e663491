//! Maps of live state made so small that they fill: they forget what was used least recently, and
//! connections go on.

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr,
    agent::Start,
    one_node::{self, NODE_PORT, OneNode, PORT, TARGET, WEB_VIP},
    probe::{Family, Kind},
};

use crate::limits::refused;

/// Entries of each map of live state.
const FEW: usize = 64;

/// That it holds about as much as it can, and no more, of `used` keys: the kernel frees a few
/// places at a time, for each CPU.
fn full(bed: &OneNode, map: &str, used: usize) -> Result<()> {
    let pin = bed.node.map_pin(map);
    let dump = ["bpftool", "-j", "map", "dump", "pinned", &pin];
    let all: Vec<serde_json::Value> = serde_json::from_str(&bed.node.run(&dump)?)?;
    let held = all.len();
    ensure!(used > FEW, "{map}: {used} keys fit");
    ensure!(
        (FEW / 2..=FEW).contains(&held),
        "{map} holds {held} of {used} keys: it was not full"
    );
    Ok(())
}

/// More clients, sockets, connections and sticky Services than the maps of live state have entries.
#[test]
fn state_that_is_forgotten_costs_no_connection() -> Result<()> {
    const CLIENTS: usize = 160;
    const STICKY: u8 = 160;
    let small = ["lb_affinity", "lb_udp_peers", "lb_flows", "lb_newflows"]
        .map(|map| format!("{map}={FEW}"));
    let args: Vec<&str> = small.iter().flat_map(|s| ["--map-capacity", s]).collect();
    let sticky = |n: u8| addr::vip(61 + n);
    let bed = OneNode::with(Start::new().args(&args), |node| {
        let pods = one_node::web_pods(node);
        let service = |n: u8| {
            let service = one_node::behind(&format!("sticky-{n}"), sticky(n), &pods).affinity(1000);
            match n {
                0 => service.node_port(PORT, TARGET, 30_061),
                _ => service.port(PORT, TARGET),
            }
        };
        let all = (0..STICKY).map(service);
        all.chain([one_node::web(node)]).collect()
    })?;
    let outside = bed.lan.client(1)?;

    // Packets: more connections than flows, asked in turn, twice; each stays with its server.
    for port in [NODE_PORT, 30_061] {
        let to = bed.node.addr().at(Family::V4, port);
        let held: Vec<_> = (0..CLIENTS)
            .map(|_| outside.connect(Kind::Tcp, to).context("connect"))
            .collect::<Result<_>>()?;
        let names: Vec<String> = held
            .iter()
            .map(|sock| Ok(sock.ask("who").context("ask")?.name))
            .collect::<Result<_>>()?;
        for (sock, name) in held.iter().zip(&names) {
            let now = sock.ask("who now").context("ask again")?.name;
            ensure!(now == *name, "port {port}: {now} answers instead of {name}");
        }
        full(&bed, "lb_flows", held.len())?;
        for n in 0..CLIENTS {
            let asked = outside.ask(Kind::Udp, to);
            asked.with_context(|| format!("datagram {n}"))?;
        }
        // One datagram each: none is promoted.
        full(&bed, "lb_newflows", CLIENTS)?;
    }
    // Datagrams of sockets that are not connected: the answer comes from the VIP, also once the
    // record was driven out.
    let to = WEB_VIP.at(Family::V4, PORT);
    let client = bed.client();
    let sockets: Vec<_> = (0..CLIENTS)
        .map(|_| client.socket(Kind::Udp, Family::V4))
        .collect::<Result<_, _>>()?;
    for _ in 0..2 {
        for socket in &sockets {
            let answer = socket.ask_at(to, "who").context("ask by datagram")?;
            ensure!(answer.from == Some(to), "{answer:?}");
        }
    }
    full(&bed, "lb_udp_peers", sockets.len())?;
    // One client, and a choice to remember for each Service.
    for _ in 0..2 {
        for n in 0..STICKY {
            let answer = client.ask(Kind::Tcp, sticky(n).at(Family::V4, PORT));
            answer.context("ask a sticky one")?;
        }
    }
    full(&bed, "lb_affinity", usize::from(STICKY))?;
    ensure!(refused(&bed)?.is_empty());
    Ok(())
}
