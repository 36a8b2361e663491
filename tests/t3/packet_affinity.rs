//! The packet path: session affinity of clients outside of the cluster, at node ports and load
//! balancer IPs.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use testbed::{
    addr,
    agent::{CHANGE, Start},
    agent_output,
    host::Host,
    lan::Offloads,
    manifest::{Endpoint, Service},
    matrix::{Case, matrix},
    node::PodNetwork,
    one_node::{PORT, TARGET},
    poll,
    probe::{Family, Kind},
    two_nodes::{BOTH_PORT, LOCAL, TwoNodes},
};

fn two_nodes(start: Start) -> Result<TwoNodes> {
    TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, start)
}

/// The service `both` of these endpoints.
fn free(endpoints: &[Endpoint]) -> Service {
    Service::new("both", addr::vip(3))
        .node_port(PORT, TARGET, BOTH_PORT)
        .ingress(addr::lb(3))
        .endpoints(endpoints.to_vec())
}

/// The same, with affinity.
fn sticky(endpoints: &[Endpoint]) -> Service {
    free(endpoints).affinity(100)
}

/// Who answers this client: all of `n` connections.
fn seen(client: &Host, kind: Kind, to: SocketAddr, n: usize) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for _ in 0..n {
        names.insert(client.ask(kind, to)?.name);
    }
    Ok(names)
}

/// The one that it stays with; four backends are missed by 30 connections once in five million
/// runs.
fn stays(client: &Host, kind: Kind, to: SocketAddr) -> Result<String> {
    poll::until(CHANGE, &format!("{kind:?} {to}: the client stays"), || {
        let names = seen(client, kind, to, 30)?;
        ensure!(names.len() == 1, "{names:?}");
        Ok(names.into_iter().next())
    })
}

fn all(bed: &TwoNodes) -> Vec<Endpoint> {
    [bed.endpoints(&bed.near), bed.endpoints(&bed.far)].concat()
}

/// Waits until the near node's kernel has so many backends of the service.
fn written(bed: &TwoNodes, backends: usize) -> Result<()> {
    let vip = addr::vip(3).v4.to_string();
    poll::until_true(CHANGE, &format!("{backends} backends are written"), || {
        let frontend = agent_output::frontend(&bed.near, "TCP", &vip, PORT)?;
        Ok(frontend.backends.len() == backends)
    })
}

fn a_client_stays(start: Start) -> Result<()> {
    let bed = two_nodes(start)?;
    bed.apply(&sticky(&all(&bed)))?;
    bed.route_to_near(addr::lb(3))?;
    let mut chosen = BTreeSet::new();
    for Case { family, kind } in matrix() {
        let to = bed.near.addr().at(family, BOTH_PORT);
        let name = stays(&bed.client, kind, to)?;
        // By the load balancer's IP it is the same port of the same Service, and the same client.
        let by_lb = addr::lb(3).at(family, PORT);
        assert_eq!(stays(&bed.client, kind, by_lb)?, name, "{kind:?} {by_lb}");
        chosen.insert(name);
    }
    // Another client is another client: of twelve more, all alike with the first once in sixteen
    // million runs.
    for number in 2..5 {
        let client = bed.lan.client(number)?;
        for Case { family, kind } in matrix() {
            let to = bed.near.addr().at(family, BOTH_PORT);
            let one = client.ask(kind, to)?.name;
            assert_eq!(seen(&client, kind, to, 5)?, [one.clone()].into());
            chosen.insert(one);
        }
    }
    ensure!(chosen.len() > 1, "all clients were given {chosen:?}");
    Ok(())
}

#[test]
fn a_client_outside_stays_with_its_backend_by_tc() -> Result<()> {
    a_client_stays(Start::new())
}

#[test]
fn a_client_outside_stays_with_its_backend_by_xdp() -> Result<()> {
    a_client_stays(Start::new().xdp("eth0"))
}

#[test]
fn it_moves_when_its_backend_is_not_eligible_any_more_and_on_no_other_account() -> Result<()> {
    let bed = two_nodes(Start::new())?;
    let endpoints = all(&bed);
    bed.apply(&sticky(&endpoints))?;
    let to = bed.near.addr().at(Family::V4, BOTH_PORT);
    let first = stays(&bed.client, Kind::Tcp, to)?;
    let without = |name: &str| -> Vec<Endpoint> {
        let kept = endpoints.iter().filter(|endpoint| endpoint.pod != name);
        kept.cloned().collect()
    };
    // Another one goes, and comes back: nothing to this client.
    let other = endpoints.iter().find(|endpoint| endpoint.pod != first);
    let other = other.map(|endpoint| endpoint.pod.clone());
    for endpoints in [without(&other.unwrap_or_default()), endpoints.clone()] {
        bed.apply(&sticky(&endpoints))?;
        written(&bed, endpoints.len())?;
        assert_eq!(
            seen(&bed.client, Kind::Tcp, to, 20)?,
            [first.clone()].into()
        );
    }
    bed.apply(&sticky(&without(&first)))?;
    let second = poll::until(CHANGE, "the client moves", || {
        Ok(Some(bed.client.ask(Kind::Tcp, to)?.name).filter(|name| *name != first))
    })?;
    bed.apply(&sticky(&endpoints))?;
    written(&bed, endpoints.len())?;
    assert_eq!(seen(&bed.client, Kind::Tcp, to, 20)?, [second].into());

    // The policy narrows the set: only pods of the node that the client connects to.
    let local = sticky(&endpoints).spec("externalTrafficPolicy: Local");
    bed.apply(&local)?;
    poll::until_true(CHANGE, "a local pod answers", || {
        Ok(LOCAL.contains(&&*bed.client.ask(Kind::Tcp, to)?.name))
    })?;
    let third = stays(&bed.client, Kind::Tcp, to)?;
    ensure!(LOCAL.contains(&&*third), "{third} is not of this node");
    Ok(())
}

#[test]
fn it_is_switched_on_and_off_and_forgets_who_is_idle() -> Result<()> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let bed = two_nodes(Start::new())?;
    let (client, to) = (&bed.client, bed.near.addr().at(Family::V6, BOTH_PORT));
    let endpoints = all(&bed);
    for _ in 0..2 {
        poll::until_true(CHANGE, "clients are spread", || {
            Ok(seen(client, Kind::Tcp, to, 40)?.len() == 4)
        })?;
        bed.apply(&sticky(&endpoints))?;
        stays(client, Kind::Tcp, to)?;
        bed.apply(&free(&endpoints))?;
    }
    bed.apply(&free(&endpoints).affinity(2))?;
    // Who has no record is placed by a hash of its address.
    let mut first = stays(client, Kind::Tcp, to)?;
    for _ in 0..12 {
        let others = endpoints.iter().filter(|endpoint| endpoint.pod != first);
        let others: Vec<Endpoint> = others.cloned().collect();
        bed.apply(&free(&others).affinity(2))?;
        let second = poll::until(CHANGE, "the client moves", || {
            Ok(Some(client.ask(Kind::Tcp, to)?.name).filter(|name| *name != first))
        })?;
        let (start, mut last) = (Instant::now(), Instant::now());
        bed.apply(&free(&endpoints).affinity(2))?;
        // Used in time, the record holds for longer than its timeout …
        let mut in_time = true;
        let mut all_are_back = false;
        while in_time && start.elapsed() < TIMEOUT * 5 / 2 {
            let name = client.ask(Kind::Tcp, to)?.name;
            let pause = last.elapsed();
            // A busy machine may have let it expire.
            in_time = pause < TIMEOUT;
            if in_time {
                assert_eq!(name, second, "{pause:?} after the last use");
            }
            last = Instant::now();
            all_are_back = all_are_back || written(&bed, endpoints.len()).is_ok();
            thread::sleep(TIMEOUT / 20);
        }
        if !in_time || !all_are_back {
            continue;
        }
        // … and after an idle one the client is placed as if it were new: the same of four once in
        // four times.
        thread::sleep(TIMEOUT + TIMEOUT / 10);
        let placed = client.ask(Kind::Tcp, to)?.name;
        if placed != second {
            return Ok(());
        }
        first = placed;
    }
    anyhow::bail!("it is kept for ever, or this machine is too busy for a timeout of {TIMEOUT:?}")
}
