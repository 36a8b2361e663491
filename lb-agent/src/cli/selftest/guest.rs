//! A process of one host of the test, such as a pod: it does what it is told, in its own network
//! namespace and cgroup.

use std::{io, path::Path};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, unshare};

use super::{
    addresses, ask, cgroup,
    network::{self, Network},
    part::say,
    question::{Order, Reply},
    server,
};

/// Goes there, and does what the lines of standard input say until they end. `own_network` is of
/// all but the node's processes.
pub(super) fn run(cgroup: &Path, own_network: bool) -> Result<()> {
    cgroup::enter(cgroup)?;
    if own_network {
        unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
        network::settings()?;
    }
    let network = Network::open()?;
    say(&Reply::Done)?;
    for line in io::stdin().lines() {
        let line = line.context("read an order")?;
        let order: Order = serde_json::from_str(&line).context("understand an order")?;
        say(&carry_out(&network, &order))?;
    }
    Ok(())
}

fn carry_out(network: &Network, order: &Order) -> Reply {
    let done = match order {
        Order::Ask(question) => return Reply::Answer(ask::ask(question)),
        Order::Join(device) => network.set_up(device),
        Order::Serve {
            name,
            port,
            with_ipv6,
        } => {
            let mut at = addresses::unspecified(!with_ipv6);
            at.set_port(*port);
            server::serve(name, at).map(drop)
        }
    };
    match done {
        Ok(()) => Reply::Done,
        Err(error) => Reply::Failed(format!("{error:#}")),
    }
}
