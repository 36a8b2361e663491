//! The node's own connections to a backend whose record is lost, since thousands of others drove it
//! out of `lb_foreign`: their sockets are there to be asked, so no client gets their tuple.

use anyhow::{Context as _, Result, ensure};
use lb_agent::maps::{
    dir::BpfDir,
    pinned::{Access, HashPin},
    table::HashTable as _,
};
use lb_common::{flow::FlowKey, maps};
use testbed::{
    matrix::{Case, hooks, matrix},
    node::PodNetwork,
};

use super::{Bed, once, play};

const FIRST: u16 = 40_000;
const PORTS: u16 = 48;

/// Forgets all that was learnt.
fn forget(bed: &Bed) -> Result<()> {
    let dir = BpfDir::at(bed.nodes.near.bpf_dir());
    let mut foreign: HashPin<FlowKey, u32> = HashPin::open(&dir, maps::FOREIGN, Access::Write)?;
    let keys: Vec<FlowKey> = foreign.entries()?.into_iter().map(|(key, _)| key).collect();
    ensure!(!keys.is_empty(), "nothing was learnt");
    let done = foreign.remove(&keys);
    ensure!(done.error.is_none(), "{done:?}");
    Ok(())
}

#[test]
fn no_client_gets_the_tuple_of_an_own_connection_that_is_not_remembered() -> Result<()> {
    for hook in hooks() {
        let bed = Bed::new(PodNetwork::Routed, hook)?;
        let near = &bed.nodes.near;
        for case @ Case { family, kind } in matrix() {
            let mut own = Vec::new();
            for port in FIRST..FIRST + PORTS {
                let sock = near.socket(kind, family)?;
                sock.bind(near.addr().at(family, port))?;
                sock.connect(bed.remote.direct(family))?;
                sock.ask("before")?;
                own.push(sock);
            }
            forget(&bed)?;
            let to = bed.remote.node_port(&bed.nodes, family);
            let clients = once(kind, to, FIRST, PORTS.into())?;
            let what = format!("{hook}, {case}");
            play(&bed.nodes.client, clients, bed.remote.name, &what)?;
            for sock in &own {
                let answer = sock.ask("after").with_context(|| what.clone())?;
                ensure!(answer.name == bed.remote.name, "{what}: {answer:?}");
            }
        }
    }
    Ok(())
}
