//! The socket path: session affinity keeps a client with its backend, for as long as the backend is
//! there and the client comes again in time.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use testbed::{
    addr,
    agent::{CHANGE, Start},
    host::Host,
    manifest::{Endpoint, Service},
    matrix::{Case, families, matrix},
    node::Node,
    one_node::{self, OneNode, PORT, TARGET},
    poll,
    probe::{Family, Kind},
};

const VIP: addr::Both = addr::vip(60);

fn sticky(scene_pods: &[testbed::manifest::Endpoint]) -> Service {
    one_node::behind("sticky", VIP, scene_pods)
        .port(PORT, TARGET)
        .affinity(100)
}

#[test]
fn a_client_stays_with_its_backend() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| vec![sticky(&one_node::web_pods(node))])?;
    for Case { family, kind } in matrix() {
        let to = VIP.at(family, PORT);
        let asked = (0..25).map(|_| Ok(bed.client().ask(kind, to)?.name));
        let names = asked.collect::<io::Result<BTreeSet<_>>>()?;
        assert_eq!(names.len(), 1, "{names:?} answered {kind:?}");
    }
    Ok(())
}

#[test]
fn clients_do_not_all_stay_with_the_same_backend() -> Result<()> {
    let mut seen = BTreeSet::new();
    // Four clients and three backends: all alike once in 27 times, and three times in a row once in
    // 19,683.
    for _ in 0..3 {
        let bed = OneNode::with(Start::new(), |node| vec![sticky(&one_node::web_pods(node))])?;
        for pod in bed.node.pods() {
            seen.insert(pod.ask(Kind::Tcp, VIP.at(Family::V4, PORT))?.name);
        }
        if seen.len() > 1 {
            return Ok(());
        }
    }
    anyhow::bail!("all clients were given {seen:?}")
}

#[test]
fn a_backend_that_goes_gives_its_clients_away_and_does_not_get_them_back() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| vec![sticky(&one_node::web_pods(node))])?;
    let to = VIP.at(Family::V4, PORT);
    let ask = || -> io::Result<String> { Ok(bed.client().ask(Kind::Tcp, to)?.name) };
    let first = ask()?;
    let all = one_node::web_pods(&bed.node);
    let rest: Vec<_> = all
        .iter()
        .filter(|endpoint| endpoint.pod != first)
        .cloned()
        .collect();
    bed.apply(&sticky(&rest))?;
    let second = poll::until(CHANGE, "the client moves", || {
        Ok(Some(ask()?).filter(|name| *name != first))
    })?;
    bed.apply(&sticky(&all))?;
    poll::until_true(CHANGE, "the first backend is back for others", || {
        let backends =
            testbed::agent_output::frontend(&bed.node, "TCP", &VIP.v4.to_string(), PORT)?.backends;
        Ok(backends.len() == all.len())
    })?;
    for _ in 0..10 {
        assert_eq!(ask()?, second);
    }
    Ok(())
}

#[test]
fn without_affinity_clients_are_spread() -> Result<()> {
    let bed = OneNode::new()?;
    let to = one_node::WEB_VIP.at(Family::V4, PORT);
    let asked = (0..40).map(|_| Ok(bed.client().ask(Kind::Tcp, to)?.name));
    assert_eq!(asked.collect::<io::Result<BTreeSet<_>>>()?.len(), 3);
    Ok(())
}

/// Who answers these clients, one connection each.
fn names(clients: &[&Host], to: SocketAddr) -> Result<Vec<String>> {
    let asked = clients.iter().map(|client| client.ask(Kind::Tcp, to));
    Ok(asked
        .map(|answer| Ok(answer?.name))
        .collect::<io::Result<_>>()?)
}

/// Asks one client so often that three backends would be seen if it were free to have them: missed
/// once in ten million.
fn spread(client: &Host, to: SocketAddr) -> Result<usize> {
    let seen: BTreeSet<String> = names(&[client; 40], to)?.into_iter().collect();
    Ok(seen.len())
}

#[test]
fn the_timeout_counts_from_the_last_use() -> Result<()> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let bed = OneNode::with(Start::new(), |node| {
        vec![sticky(&one_node::web_pods(node)).affinity(2)]
    })?;
    let to = VIP.at(Family::V4, PORT);
    let pods: Vec<&Host> = bed.node.pods().iter().map(|pod| &**pod).collect();
    let (busy, idle) = pods.split_at(2);
    let idle = [idle, &[&*bed.node]].concat();
    let (mut before, mut kept) = (names(&idle, to)?, names(busy, to)?);
    let mut last = Instant::now();
    // Three idle clients that may move to two of three backends: none does once in 27 rounds.
    for _ in 0..6 {
        let round = Instant::now();
        while round.elapsed() < TIMEOUT * 5 / 2 {
            let now = names(busy, to)?;
            let pause = last.elapsed();
            // A busy machine may have let it expire: then it counts from here.
            if pause >= TIMEOUT {
                kept.clone_from(&now);
            }
            assert_eq!(now, kept, "{pause:?} after the last use");
            last = Instant::now();
            thread::sleep(TIMEOUT / 20);
        }
        let now = names(&idle, to)?;
        if now != before {
            return Ok(());
        }
        before = now;
    }
    anyhow::bail!("a client that was idle for longer than {TIMEOUT:?} still has {before:?}")
}

#[test]
fn a_backend_that_leaves_one_service_is_kept_by_the_other() -> Result<()> {
    let other = |pods: &[Endpoint]| {
        one_node::behind("other", addr::vip(61), pods)
            .port(PORT, TARGET)
            .affinity(100)
    };
    let bed = OneNode::with(Start::new(), |node| {
        let pods = one_node::web_pods(node);
        vec![sticky(&pods), other(&pods)]
    })?;
    let (here, there) = (VIP.at(Family::V4, PORT), addr::vip(61).at(Family::V4, PORT));
    let ask = |to| -> io::Result<String> { Ok(bed.client().ask(Kind::Tcp, to)?.name) };
    let (first, kept) = (ask(here)?, ask(there)?);
    // It lives on, serves the other service, and is no member of this one any more.
    let mut pods = one_node::web_pods(&bed.node);
    pods.retain(|pod| pod.pod != first);
    bed.apply(&sticky(&pods))?;
    let second = poll::until(CHANGE, "the client moves", || {
        Ok(Some(ask(here)?).filter(|name| *name != first))
    })?;
    for _ in 0..10 {
        assert_eq!((ask(here)?, ask(there)?), (second.clone(), kept.clone()));
    }
    // One that is not ready is a member, but not an eligible one.
    let mut pods = one_node::web_pods(&bed.node);
    for pod in pods.iter_mut().filter(|pod| pod.pod == kept) {
        pod.ready = false;
    }
    bed.apply(&other(&pods))?;
    poll::until_true(CHANGE, "the client moves", || Ok(ask(there)? != kept))?;
    assert_eq!(ask(here)?, second);
    Ok(())
}

#[test]
fn affinity_is_switched_on_and_off_while_clients_come() -> Result<()> {
    let free =
        |node: &Node| one_node::behind("sticky", VIP, &one_node::web_pods(node)).port(PORT, TARGET);
    let bed = OneNode::with(Start::new(), |node| vec![free(node)])?;
    for family in families() {
        let (client, to) = (bed.client(), VIP.at(family, PORT));
        for _ in 0..2 {
            poll::until_true(
                CHANGE,
                "clients are spread",
                || Ok(spread(client, to)? == 3),
            )?;
            bed.apply(&sticky(&one_node::web_pods(&bed.node)))?;
            poll::until_true(CHANGE, "a client stays", || Ok(spread(client, to)? == 1))?;
            bed.apply(&free(&bed.node))?;
        }
    }
    Ok(())
}
