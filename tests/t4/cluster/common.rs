//! What these tests do again and again.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    agent::{self, Agent, CHANGE, Start},
    cluster::{Cluster, chart::path_str},
    host::Host,
    matrix::kinds,
    node::Node,
    poll,
    probe::{Hammer, HammerPlan, Kind},
};

/// A Service's port of each protocol, 80, and where its pods listen.
pub(crate) fn ports() -> Value {
    json!([
        {"name": "tcp", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        {"name": "udp", "port": 80, "targetPort": 8080, "protocol": "UDP"},
    ])
}

/// How the agent reaches the API server with nothing in between.
pub(crate) fn by_kubeconfig(cluster: &Cluster) -> Result<Start> {
    let kubeconfig = cluster.admin()?;
    Ok(Start::new().source(&["--kubeconfig", path_str(&kubeconfig)?]))
}

/// A ready agent.
pub(crate) fn agent(cluster: &Cluster, node: &Node) -> Result<Agent> {
    by_kubeconfig(cluster)?.on(node)
}

/// Connects until every one of these names has answered, and since the first of them no other one.
pub(crate) fn answered_by(client: &Host, to: SocketAddr, names: &[&str]) -> Result<()> {
    answered_within(CHANGE, client, to, names)
}

/// [`answered_by`] where the change may take longer to be heard of.
pub(crate) fn answered_within(
    deadline: Duration,
    client: &Host,
    to: SocketAddr,
    names: &[&str],
) -> Result<()> {
    let wanted: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
    for kind in kinds() {
        let what = format!("{kind:?} {to} is answered by {names:?} alone");
        poll::until(deadline, &what, || {
            let mut seen = BTreeSet::new();
            // With two names, a miss of one in 32 tries is one in four thousand million.
            for _ in 0..32 {
                seen.insert(client.ask(kind, to)?.name);
            }
            ensure!(seen == wanted, "answered by {seen:?}");
            Ok(Some(()))
        })?;
    }
    Ok(())
}

/// Polls until a connect is refused, as that of a Service with no endpoint is.
pub(crate) fn refused(client: &Host, to: SocketAddr) -> Result<()> {
    poll::until_true(CHANGE, &format!("{to} refuses"), || {
        match client.ask(Kind::Tcp, to) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(false),
        }
    })
}

/// Opens connections without end; all of them must come off.
pub(crate) fn hammer(client: &Host, to: SocketAddr) -> Result<Hammer> {
    let plan = HammerPlan {
        kind: Kind::Tcp,
        connected: true,
        to,
        allowed: Vec::new(),
    };
    client.hammer(plan).context("start to hammer")
}

/// Ends it; not one attempt may have failed, and there must have been some since `before`.
pub(crate) fn no_failure(hammer: Hammer, before: u64) -> Result<()> {
    let tally = hammer.stop()?;
    ensure!(tally.failures.is_empty(), "{tally:?}");
    ensure!(
        tally.attempts > before + 10,
        "only {} attempts after the first {before}",
        tally.attempts
    );
    Ok(())
}

/// What the kernel holds, by the agent's own words: `address:port` of every frontend.
pub(crate) fn frontends(node: &Node) -> Result<BTreeSet<String>> {
    frontends_in(node, node.bpf_dir())
}

/// [`frontends`] of another pin directory.
pub(crate) fn frontends_in(node: &Node, dir: &Path) -> Result<BTreeSet<String>> {
    let services = agent::services_in(node, dir)?;
    let items = services["items"]
        .as_array()
        .context("no items in get services")?;
    let mut all = BTreeSet::new();
    for item in items {
        let (address, port) = (item["address"].as_str(), item["port"].as_u64());
        all.insert(format!(
            "{}:{}",
            address.context("no address")?,
            port.context("no port")?
        ));
    }
    Ok(all)
}

/// A frontend as [`frontends`] names it.
pub(crate) fn frontend(ip: IpAddr) -> String {
    format!("{ip}:80")
}
