//! The testbed itself, with no agent: what it builds works as the tests take it to, and nothing of
//! it stays behind.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use testbed::{
    lan::{Lan, Offloads},
    matrix::{Case, each, families, matrix},
    node::{Node, PodNetwork},
    probe::{Family, Kind},
};

fn two_nodes(network: PodNetwork, offloads: Offloads) -> Result<(Lan, Node, Node)> {
    let lan = Lan::new(offloads)?;
    let (mut a, mut b) = (Node::new(&lan, 1, network)?, Node::new(&lan, 2, network)?);
    a.add_pod("one")?.serve(80)?;
    b.add_pod("two")?.serve(80)?;
    a.join(&b)?;
    Ok((lan, a, b))
}

#[test]
fn pods_reach_pods_and_see_their_addresses() -> Result<()> {
    for network in each(PodNetwork::ALL) {
        let (_lan, a, b) = two_nodes(network, Offloads::On)?;
        for (from, to) in [(a.pod(0), b.pod(0)), (b.pod(0), a.pod(0))] {
            for Case { family, kind } in matrix() {
                let answer = from.ask(kind, to.addr().at(family, 80))?;
                assert_eq!(answer.name, to.name());
                assert_eq!(
                    answer.client.ip(),
                    from.addr().ip(family),
                    "{network:?} {kind:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn pods_reach_the_outside_and_the_nodes_reach_pods() -> Result<()> {
    for network in each(PodNetwork::ALL) {
        let (lan, a, b) = two_nodes(network, Offloads::On)?;
        let client = lan.client(1)?;
        for family in families() {
            client.listen(Kind::Tcp, client.addr.at(family, 9000), "outside")?;
            if network == PodNetwork::Flannel {
                // Masqueraded: it sees the node.
                let answer = a.pod(0).ask(Kind::Tcp, client.addr.at(family, 9000))?;
                assert_eq!(answer.client.ip(), a.addr().ip(family));
            }
            assert_eq!(
                a.ask(Kind::Udp, b.pod(0).addr().at(family, 80))?.name,
                "two"
            );
            assert_eq!(
                b.ask(Kind::Tcp, b.pod(0).addr().at(family, 80))?.name,
                "two"
            );
        }
    }
    Ok(())
}

#[test]
fn receivers_compute_sums_where_offloads_say_so() -> Result<()> {
    for offloads in [Offloads::LastHop, Offloads::Off] {
        let (_lan, a, b) = two_nodes(PodNetwork::Routed, offloads)?;
        let (from, to) = (a.pod(0), b.pod(0));
        let recorder = to.record()?;
        for Case { family, kind } in matrix() {
            from.ask(kind, to.addr().at(family, 80))?;
        }
        let frames = recorder.stop(&to.addr().ips())?;
        for proto in ["tcp", "udp"] {
            ensure!(
                frames.iter().any(|frame| frame.proto == proto),
                "no {proto} among {frames:?}"
            );
        }
        for frame in frames {
            assert_eq!(frame.sums, Ok(()), "{offloads:?}: {frame:?}");
        }
    }
    Ok(())
}

#[test]
fn with_offloads_a_receiver_sees_sums_that_nobody_made() -> Result<()> {
    let (_lan, a, b) = two_nodes(PodNetwork::Routed, Offloads::On)?;
    let recorder = b.pod(0).record()?;
    a.pod(0)
        .ask(Kind::Tcp, b.pod(0).addr().at(Family::V4, 80))?;
    let frames = recorder.stop(&b.pod(0).addr().ips())?;
    // Else the other cases would prove nothing.
    assert!(frames.iter().any(|frame| frame.sums.is_err()), "{frames:?}");
    Ok(())
}

#[test]
fn a_testbed_leaves_nothing() -> Result<()> {
    let lan = Lan::new(Offloads::On)?;
    let mut node = Node::new(&lan, 1, PodNetwork::Routed)?;
    node.add_pod("one")?;
    node.add_pod("two")?;
    let client = lan.client(1)?;
    let mut made = vec![
        node.root_cgroup().path().to_owned(),
        node.bpf_dir().to_owned(),
        node.files().to_owned(),
        lan.netns().path(),
        client.netns().path(),
        client.cgroup().path().to_owned(),
    ];
    made.extend(node.pods().iter().map(|pod| pod.netns().path()));
    assert!(made.iter().all(|path| path.exists()));
    drop((client, node, lan));
    let left: Vec<_> = made.iter().filter(|path| path.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

#[test]
fn a_panic_leaves_nothing_either() {
    let mut made = Vec::new();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| -> Result<()> {
        let lan = Lan::new(Offloads::On)?;
        let node = Node::new(&lan, 1, PodNetwork::Routed)?;
        made = vec![
            lan.netns().path(),
            node.netns().path(),
            node.root_cgroup().path().to_owned(),
        ];
        std::panic::panic_any(());
    }));
    assert!(outcome.is_err());
    assert_eq!(made.len(), 3);
    assert!(made.iter().all(|path| !path.exists()));
}

#[test]
fn programs_run_in_the_pods_cgroup_and_with_its_resolver() -> Result<()> {
    let lan = Lan::new(Offloads::On)?;
    let mut node = Node::new(&lan, 1, PodNetwork::Routed)?;
    let conf = node.files().join("resolv.conf");
    fs::write(&conf, "nameserver 10.96.0.10\n")?;
    let pod = node.add_pod("one")?;
    pod.host_mut().resolve_by(&conf);
    assert_eq!(
        pod.run(&["cat", "/etc/resolv.conf"])?,
        "nameserver 10.96.0.10\n"
    );
    let cgroups = pod.run(&["cat", "/proc/self/cgroup"])?;
    assert!(cgroups.contains("/one\n"), "{cgroups}");
    assert!(Path::new("/sys/fs/bpf").exists());
    assert!(pod.run(&["ls", "/sys/fs/bpf"]).is_ok());
    Ok(())
}
