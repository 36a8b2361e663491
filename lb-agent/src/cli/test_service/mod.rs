//! `lb-agent test-service`: a client in a pod reaches a Service by its name, its ClusterIPs and its
//! node ports. Knows nothing of this node's data path: it is a client like any other.

mod facts;
mod reach;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, Result};
use facts::Facts;

use super::{args::TestService, output::print};

/// Carries the verb out: a line for each way to the Service; 1 if one of them fails.
pub fn run(args: &TestService) -> Result<ExitCode> {
    let deadline = Instant::now() + args.timeout;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let facts = runtime.block_on(facts::read(&args.service, deadline))?;
    print(&format!("ok    API server at {}\n", facts.api))?;
    let name = format!("{}.{}.svc", args.service.name, args.service.namespace);
    let mut failed = line(
        &format!("DNS name {name}"),
        resolved(&name, &facts, deadline),
    )?;
    for (what, address) in ways(&facts) {
        let reached = reach::reach(address, args.http_path.as_deref(), deadline);
        failed |= line(&format!("{what} {address}"), reached)?;
    }
    Ok(ExitCode::from(u8::from(failed)))
}

/// Prints how it went; whether it failed.
fn line(what: &str, done: Result<()>) -> Result<bool> {
    match done {
        Ok(()) => print(&format!("ok    {what}\n")).map(|()| false),
        Err(error) => print(&format!("FAIL  {what}: {error:#}\n")).map(|()| true),
    }
}

/// Every address to try, with what it is.
fn ways(facts: &Facts) -> Vec<(&'static str, SocketAddr)> {
    let mut ways = Vec::new();
    for &ip in &facts.cluster_ips {
        let addresses = facts.ports.iter().map(|port| SocketAddr::new(ip, *port));
        ways.extend(addresses.map(|address| ("ClusterIP", address)));
    }
    // A Service has node ports in its own families only.
    let families: BTreeSet<bool> = facts.cluster_ips.iter().map(IpAddr::is_ipv4).collect();
    for ip in facts
        .nodes
        .iter()
        .filter(|ip| families.contains(&ip.is_ipv4()))
    {
        let addresses = facts
            .node_ports
            .iter()
            .map(|port| SocketAddr::new(*ip, *port));
        ways.extend(addresses.map(|address| ("node port", address)));
    }
    ways
}

/// Whether the resolver of this pod knows the name, by exactly the Service's addresses.
fn resolved(name: &str, facts: &Facts, deadline: Instant) -> Result<()> {
    reach::retry(deadline, || {
        let found = std::net::ToSocketAddrs::to_socket_addrs(&(name, 0)).context("not resolved")?;
        let found: BTreeSet<IpAddr> = found.map(|address| address.ip()).collect();
        anyhow::ensure!(
            !found.is_empty() && found.is_subset(&facts.cluster_ips),
            "resolved to {found:?}, the Service has {:?}",
            facts.cluster_ips
        );
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(cluster_ips: &[&str]) -> Facts {
        Facts {
            api: String::new(),
            cluster_ips: cluster_ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            ports: vec![80],
            node_ports: vec![30080],
            nodes: ["198.18.0.1", "fd66::1"]
                .map(|ip| ip.parse().unwrap())
                .into(),
        }
    }

    #[test]
    fn node_ports_are_tried_in_the_families_of_the_service() {
        let tried: Vec<String> = ways(&facts(&["10.96.0.9"]))
            .into_iter()
            .map(|(what, address)| format!("{what} {address}"))
            .collect();
        assert_eq!(
            tried,
            ["ClusterIP 10.96.0.9:80", "node port 198.18.0.1:30080"]
        );
        assert_eq!(ways(&facts(&["10.96.0.9", "fd66:96::9"])).len(), 4);
    }
}
