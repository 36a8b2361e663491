//! `--socket-lb auto`: sockets of network namespaces that translate by themselves, or that have a
//! cluster IP themselves, are left alone; those of ordinary pods are translated.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use nix::sys::socket::{getsockopt, sockopt};
use testbed::{
    agent::{CHANGE, Start},
    agent_output,
    host::Host,
    matrix::families,
    one_node::{self, OneNode, PORT, WEB, WEB_VIP},
    poll,
    probe::{Family, Kind},
};

/// Where a side-car listens.
const SIDE_CAR: u16 = 15001;

fn bed(args: &[&str]) -> Result<OneNode> {
    OneNode::with(Start::new().args(args), |node| vec![one_node::web(node)])
}

/// Packets of the pod's processes to port 80 go to the side-car, as a mesh's init container has it.
pub(crate) fn redirect(pod: &Host) -> Result<()> {
    for line in [
        "add table ip mesh",
        "add chain ip mesh output { type nat hook output priority -100 ; }",
        "add rule ip mesh output tcp dport 80 redirect to :15001",
    ] {
        let words: Vec<&str> = std::iter::once("nft").chain(line.split(' ')).collect();
        pod.run(&words)?;
    }
    Ok(())
}

/// What a side-car reads of a connection to the VIP: SO_ORIGINAL_DST.
pub(crate) fn original(pod: &Host) -> Result<SocketAddr> {
    let listener = pod.block(|| Ok(std::net::TcpListener::bind(("0.0.0.0", SIDE_CAR))?))?;
    let sock = pod.connect(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    // It is established, so it waits there, or is a pod's.
    listener.set_nonblocking(true)?;
    let (accepted, _) = listener.accept()?;
    let found = getsockopt(&accepted, sockopt::OriginalDst)?;
    drop(sock);
    Ok((
        std::net::Ipv4Addr::from(u32::from_be(found.sin_addr.s_addr)),
        u16::from_be(found.sin_port),
    )
        .into())
}

#[test]
fn a_side_car_sees_which_service_was_meant() -> Result<()> {
    let bed = bed(&[])?;
    let pod = bed.client().host();
    redirect(pod)?;
    let to = WEB_VIP.at(Family::V4, PORT);
    poll::until_true(CHANGE, "the side-car sees the VIP", || {
        Ok(original(pod).is_ok_and(|seen| seen == to))
    })?;
    let left = agent_output::metric_sum(&bed.node, "lb_agent_network_namespaces_left_alone")?;
    ensure!(left >= 1.0, "{left}");
    // Without the rules it is a pod like any other.
    pod.run(&["nft", "delete", "table", "ip", "mesh"])?;
    poll::until_true(CHANGE, "the pod is translated again", || {
        let answer = pod.ask(Kind::Tcp, to)?;
        Ok(WEB.contains(&answer.name.as_str())
            && answer.client.ip() == bed.client().addr().ip(Family::V4))
    })
}

/// As it is with every namespace on the socket path: the redirect never sees the VIP's port.
#[test]
fn with_all_a_side_car_is_passed_by() -> Result<()> {
    let bed = bed(&["--socket-lb", "all"])?;
    let pod = bed.client().host();
    redirect(pod)?;
    // Longer than it takes to find a namespace.
    std::thread::sleep(Duration::from_secs(3));
    let answer = pod.ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    ensure!(WEB.contains(&answer.name.as_str()), "{answer:?}");
    Ok(())
}

#[test]
fn a_namespace_that_has_the_vip_itself_is_left_alone() -> Result<()> {
    let mut bed = bed(&[])?;
    bed.node.add_pod("inner")?;
    let inner = bed.node.pod(WEB.len() + 1).host();
    for family in families() {
        let ip = WEB_VIP.ip(family);
        inner.netns().ip(&format!("addr add {ip} dev lo nodad\n"))?;
        for kind in [Kind::Tcp, Kind::Udp] {
            inner.listen(kind, WEB_VIP.at(family, PORT), "inner")?;
            // A port that the outer Service does not define.
            inner.listen(kind, WEB_VIP.at(family, 99), "inner")?;
        }
    }
    for family in families() {
        for kind in [Kind::Tcp, Kind::Udp] {
            for port in [PORT, 99] {
                let to = WEB_VIP.at(family, port);
                poll::until_true(CHANGE, &format!("{kind:?} {to} is the inner one"), || {
                    Ok(inner
                        .ask(kind, to)
                        .is_ok_and(|answer| answer.name == "inner"))
                })?;
            }
        }
    }
    // The others are not concerned.
    let answer = bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    ensure!(WEB.contains(&answer.name.as_str()), "{answer:?}");
    assert_eq!(answer.client.ip(), bed.client().addr().ip(Family::V4));
    Ok(())
}

/// Such a namespace could hold up every look; what is beyond what is read of it may be anything.
#[test]
fn a_namespace_that_is_too_full_to_be_read_is_left_alone() -> Result<()> {
    /// More than is read.
    const MANY: usize = 4200;
    let mut bed = bed(&[])?;
    bed.node.add_pod("chains")?;
    let (addresses, chains) = (bed.client(), bed.node.pod(WEB.len() + 1));
    let to = WEB_VIP.at(Family::V4, PORT);
    for pod in [addresses, chains] {
        let answer = pod.host().ask(Kind::Tcp, to)?;
        assert_eq!(answer.client.ip(), pod.addr().ip(Family::V4));
    }
    let lines =
        (0..MANY).map(|n| format!("addr add 10.99.{}.{}/32 dev lo\n", n / 250, n % 250 + 1));
    addresses.host().netns().ip(&lines.collect::<String>())?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("chains.nft").display().to_string();
    let lines = (0..MANY).map(|n| format!("add chain ip full c{n}\n"));
    let lines = std::iter::once("add table ip full\n".to_owned()).chain(lines);
    std::fs::write(&file, lines.collect::<String>())?;
    chains.host().run(&["nft", "-f", &file])?;
    for pod in [addresses, chains] {
        poll::until_true(CHANGE, "the pod is off the socket path", || {
            let seen = pod.host().ask(Kind::Tcp, to)?.client.ip();
            Ok(seen != pod.addr().ip(Family::V4))
        })?;
    }
    Ok(())
}
