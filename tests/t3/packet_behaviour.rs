//! The packet path: what comes of flows, refusals, policies and of packets that are none of its
//! business.

use std::{collections::BTreeSet, io, time::Duration};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr,
    agent::CHANGE,
    lan::Offloads,
    manifest::Service,
    matrix::{Case, Hook, each, families, hooks, kinds, matrix},
    node::PodNetwork,
    one_node::{PORT, TARGET},
    poll,
    probe::{Family, Kind, errno},
    two_nodes::{BOTH_PORT, LOCAL, LOCAL_PORT, REMOTE, REMOTE_PORT, TwoNodes},
};

fn two_nodes(hook: Hook) -> Result<TwoNodes> {
    TwoNodes::new(PodNetwork::Routed, Offloads::On, hook.start())
}

#[test]
fn load_balancer_addresses_answer_from_outside() -> Result<()> {
    for hook in hooks() {
        let bed = two_nodes(hook)?;
        for (n, names, source) in [
            (1, LOCAL, bed.client.addr),
            (2, REMOTE, bed.source_towards_far()),
        ] {
            bed.route_to_near(addr::lb(n))?;
            for Case { family, kind } in matrix() {
                let to = addr::lb(n).at(family, PORT);
                let answer = bed.client.ask(kind, to)?;
                ensure!(names.contains(&answer.name.as_str()), "{answer:?}");
                assert_eq!(answer.client.ip(), source.ip(family));
            }
        }
    }
    Ok(())
}

#[test]
fn the_nodes_own_ports_are_left_alone() -> Result<()> {
    for hook in hooks() {
        let bed = two_nodes(hook)?;
        for family in families() {
            for kind in kinds() {
                let to = bed.near.addr().at(family, 2222);
                bed.near.listen(kind, to, "the-node")?;
                let answer = bed.client.ask(kind, to)?;
                assert_eq!(
                    (answer.name.as_str(), answer.client.ip()),
                    ("the-node", bed.client.addr.ip(family))
                );
            }
            assert_eq!(
                errno(
                    bed.client
                        .connect(Kind::Tcp, bed.near.addr().at(family, 4444))
                ),
                Some(libc::ECONNREFUSED)
            );
            let ping = [
                "ping",
                "-c",
                "1",
                "-W",
                "2",
                &bed.near.addr().ip(family).to_string(),
            ]
            .map(str::to_owned);
            bed.client.run(&ping)?;
        }
    }
    Ok(())
}

#[test]
fn a_node_port_without_endpoints_is_refused() -> Result<()> {
    for hook in hooks() {
        let bed = two_nodes(hook)?;
        bed.apply(&Service::new("empty", addr::vip(9)).node_port(PORT, TARGET, 30009))?;
        // Nothing tells these two apart at the first look: wait until the agent has seen the
        // service.
        poll::until_true(CHANGE, "the service is programmed", || {
            Ok(testbed::agent::verb(&bed.near, &["get", "services"])?.contains("30009"))
        })?;
        for family in families() {
            let to = bed.near.addr().at(family, 30009);
            // At once is by the first answer: without a second SYN. A crowded machine may need one
            // now and then.
            let mut at_once = false;
            for _ in 0..3 {
                let before = bed.client.tcp_ext("TCPSynRetrans")?;
                assert_eq!(
                    errno(bed.client.connect(Kind::Tcp, to)),
                    Some(libc::ECONNREFUSED)
                );
                at_once |= bed.client.tcp_ext("TCPSynRetrans")? == before;
            }
            ensure!(at_once, "{to} was refused only when asked again");
        }
    }
    Ok(())
}

#[test]
fn a_process_of_another_node_is_served_like_a_client_outside() -> Result<()> {
    for hook in hooks() {
        let bed = two_nodes(hook)?;
        for Case { family, kind } in matrix() {
            for (port, names) in [(LOCAL_PORT, LOCAL), (REMOTE_PORT, REMOTE)] {
                let answer = bed.far.ask(kind, bed.near.addr().at(family, port))?;
                ensure!(names.contains(&answer.name.as_str()), "{answer:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn flows_keep_their_backend_while_endpoints_come_and_go() -> Result<()> {
    for hook in hooks() {
        let bed = two_nodes(hook)?;
        let mut held = Vec::new();
        for Case { family, kind } in matrix() {
            for _ in 0..8 {
                let sock = bed
                    .client
                    .connect(kind, bed.near.addr().at(family, BOTH_PORT))?;
                let name = sock.ask("before")?.name;
                held.push((sock, name));
            }
        }
        let names: BTreeSet<&str> = held.iter().map(|(_, name)| name.as_str()).collect();
        ensure!(names.len() > 1, "only {names:?} of four answered 32 times");
        // One pod more, then its removal: no open connection may break.
        let near = bed.endpoints(&bed.near);
        let far = bed.endpoints(&bed.far);
        let both = |endpoints| {
            Service::new("both", addr::vip(3))
                .node_port(PORT, TARGET, BOTH_PORT)
                .ingress(addr::lb(3))
                .endpoints(endpoints)
        };
        for endpoints in [
            [&near[..], &far[..1]].concat(),
            [&near[..], &far[..]].concat(),
        ] {
            let service = both(endpoints.clone());
            bed.apply(&service)?;
            let expected: BTreeSet<String> = endpoints
                .iter()
                .map(|endpoint| endpoint.pod.clone())
                .collect();
            poll::until_true(CHANGE, "new connections go to the new set", || {
                let to = bed.near.addr().at(Family::V4, BOTH_PORT);
                let asked = (0..40).map(|_| Ok(bed.client.ask(Kind::Tcp, to)?.name));
                Ok(asked.collect::<io::Result<BTreeSet<_>>>()? == expected)
            })?;
            for (sock, name) in &held {
                // Removed pods still serve whom they have: TCP always, UDP while they answer.
                if expected.contains(name) {
                    assert_eq!(sock.ask("after")?.name, *name);
                }
            }
        }
        Ok::<(), anyhow::Error>(())?;
    }
    Ok(())
}

#[test]
fn a_local_policy_keeps_the_source_and_never_leaves_the_node() -> Result<()> {
    for hook in hooks() {
        let bed = two_nodes(hook)?;
        let all = [bed.endpoints(&bed.near), bed.endpoints(&bed.far)].concat();
        let local = Service::new("own", addr::vip(8))
            .node_port(PORT, TARGET, 30008)
            .spec("externalTrafficPolicy: Local")
            .endpoints(all);
        let elsewhere = Service::new("elsewhere", addr::vip(7))
            .node_port(PORT, TARGET, 30007)
            .spec("externalTrafficPolicy: Local")
            .endpoints(bed.endpoints(&bed.far));
        bed.apply(&local)?;
        bed.apply(&elsewhere)?;
        for family in families() {
            for kind in kinds() {
                let to = bed.near.addr().at(family, 30008);
                poll::until(CHANGE, "the service answers", || {
                    Ok(bed.client.ask(kind, to).ok())
                })?;
                for _ in 0..12 {
                    let answer = bed.client.ask(kind, to)?;
                    ensure!(LOCAL.contains(&answer.name.as_str()), "{answer:?}");
                    assert_eq!(answer.client.ip(), bed.client.addr.ip(family));
                }
            }
            // Dropped: nothing comes, not even a refusal.
            poll::until_true(CHANGE, "the service is programmed", || {
                Ok(testbed::agent::verb(&bed.near, &["get", "services"])?.contains("30007"))
            })?;
            let sock = bed
                .client
                .connect(Kind::Udp, bed.near.addr().at(family, 30007))?;
            sock.send("no backend")?;
            let error = sock
                .recv_within(Duration::from_millis(300))
                .expect_err("there is no backend");
            assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
        }
    }
    Ok(())
}

#[test]
fn a_pod_connects_to_a_node_port_of_another_node() -> Result<()> {
    for network in each(PodNetwork::ALL) {
        for hook in hooks() {
            let start = hook.start();
            // The near node is the one that is connected to; the pods that connect run on the far
            // one, and some of the backends are themselves.
            let bed = TwoNodes::new(network, Offloads::LastHop, start)?;
            for Case { family, kind } in matrix() {
                for (port, names) in [(LOCAL_PORT, LOCAL), (REMOTE_PORT, REMOTE)] {
                    for _ in 0..6 {
                        let to = bed.near.addr().at(family, port);
                        let answer = bed
                            .far
                            .pod(0)
                            .ask(kind, to)
                            .with_context(|| format!("{network:?} {kind:?} {to}"))?;
                        ensure!(names.contains(&answer.name.as_str()), "{answer:?}");
                    }
                }
            }
        }
    }
    Ok(())
}
