//! The health check ports of Services: they live beside node ports that are held, follow every
//! change, and one that cannot be had harms no other.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use testbed::{
    addr,
    agent::{CHANGE, Start},
    agent_output, http,
    manifest::{Endpoint, Service},
    matrix::families,
    node::Node,
    one_node::{self, NODE_PORT, OneNode},
    poll,
    probe::{Family, Kind},
};

/// Where `web` is checked.
const CHECK: u16 = 32000;
/// Where it is checked later.
const OTHER: u16 = 32001;
/// The weight that load balancers read.
const WEIGHT: &str = "X-Load-Balancing-Endpoint-Weight";

/// The service `web` with a health check, of these endpoints.
fn checked(node: &Node, port: u16, endpoints: &[Endpoint]) -> Service {
    one_node::web(node)
        .endpoints(endpoints.to_vec())
        .spec("externalTrafficPolicy: Local")
        .spec(&format!("healthCheckNodePort: {port}"))
}

/// Polls until both families of the node answer with this status and weight, or refuse.
fn answers(node: &Node, port: u16, expected: Option<(u16, &str)>) -> Result<()> {
    for family in families() {
        let to = node.addr().at(family, port);
        poll::until(CHANGE, &format!("{to} tells {expected:?}"), || {
            match (http::ask(node, to, "GET", "/"), expected) {
                (Ok(answer), Some((status, weight))) => {
                    let said = (answer.status, answer.header(WEIGHT));
                    ensure!(said == (status, Some(weight)), "{answer:?}");
                    Ok(Some(()))
                }
                (Ok(answer), None) => anyhow::bail!("{answer:?}"),
                (Err(error), Some(_)) => Err(error),
                (Err(_), None) => {
                    let refused = node.connect(Kind::Tcp, to).err();
                    let errno = refused.and_then(|error| error.raw_os_error());
                    Ok((errno == Some(libc::ECONNREFUSED)).then_some(()))
                }
            }
        })?;
    }
    Ok(())
}

/// How many listen, and how many cannot.
fn listeners(node: &Node) -> Result<(f64, f64)> {
    let metric = |name| agent_output::metric(node, name);
    Ok((
        metric("lb_agent_health_check_listeners")?,
        metric("lb_agent_health_check_failures")?,
    ))
}

#[test]
fn a_health_check_port_lives_beside_a_held_node_port() -> Result<()> {
    let all = |node: &Node| one_node::web_pods(node);
    let bed = OneNode::with(Start::new(), |node| vec![checked(node, CHECK, &all(node))])?;
    let node = &bed.node;
    answers(node, CHECK, Some((200, "3")))?;
    // No other process can bind either: a program holds the one, a listener the other.
    for port in [NODE_PORT, CHECK] {
        for family in families() {
            let sock = node.socket(Kind::Tcp, family)?;
            let taken = sock.bind(node.addr().at(family, port)).err();
            let errno = taken.and_then(|error| error.raw_os_error());
            assert_eq!(errno, Some(libc::EADDRINUSE), "{family:?} {port}");
        }
    }
    // From outside both answer: the one is balanced, the other is the agent's own.
    let outside = bed.lan.client(1)?;
    for family in families() {
        let (web, check) = (
            node.addr().at(family, NODE_PORT),
            node.addr().at(family, CHECK),
        );
        ensure!(outside.ask(Kind::Tcp, web)?.name.starts_with("web-"));
        let answer = http::ask(&outside, check, "GET", "/anything")?;
        assert_eq!((answer.status, answer.header(WEIGHT)), (200, Some("3")));
    }
    Ok(())
}

#[test]
fn every_change_is_followed() -> Result<()> {
    let bed = OneNode::with(Start::new(), |_| Vec::new())?;
    let node = &bed.node;
    let mut pods = one_node::web_pods(node);
    answers(node, CHECK, None)?;
    bed.apply(&checked(node, CHECK, &pods))?;
    answers(node, CHECK, Some((200, "3")))?;

    // One not ready, one that drains and still serves, one elsewhere: none of them counts.
    pods[0].ready = false;
    pods[1] = Endpoint {
        ready: false,
        terminating: true,
        ..pods[1].clone()
    };
    bed.apply(&checked(node, CHECK, &pods))?;
    answers(node, CHECK, Some((200, "1")))?;
    pods[2].node = "elsewhere".to_owned();
    bed.apply(&checked(node, CHECK, &pods))?;
    answers(node, CHECK, Some((503, "0")))?;
    // What drains still serves those who come before the load balancer has heard of it.
    let outside = bed.lan.client(1)?;
    let drains = outside.ask(Kind::Tcp, node.addr().at(Family::V4, NODE_PORT))?;
    assert_eq!(drains.name, pods[1].pod);

    let pods = one_node::web_pods(node);
    bed.apply(&checked(node, OTHER, &pods))?;
    answers(node, OTHER, Some((200, "3")))?;
    answers(node, CHECK, None)?;
    let cluster = one_node::web(node).spec(&format!("healthCheckNodePort: {OTHER}"));
    bed.apply(&cluster)?;
    answers(node, OTHER, None)?;
    // Two Services swap their ports in one edit.
    let second = |port: u16| {
        one_node::behind("second", addr::vip(20), &pods[..1])
            .node_port(80, one_node::TARGET, NODE_PORT + 1)
            .ingress(addr::lb(20))
            .spec("externalTrafficPolicy: Local")
            .spec(&format!("healthCheckNodePort: {port}"))
            .yaml()
    };
    let both = |first: u16, other: u16| {
        let first = checked(node, first, &pods).yaml();
        node.write_manifest("web.yaml", &[first, second(other)].join("---\n"))
    };
    both(CHECK, OTHER)?;
    answers(node, CHECK, Some((200, "3")))?;
    answers(node, OTHER, Some((200, "1")))?;
    both(OTHER, CHECK)?;
    answers(node, CHECK, Some((200, "1")))?;
    answers(node, OTHER, Some((200, "3")))?;
    let log = bed.agent.as_ref().context("it runs")?.log()?;
    ensure!(!log.contains("cannot listen"), "{log}");
    node.remove_manifest("web.yaml")?;
    answers(node, CHECK, None)?;
    answers(node, OTHER, None)
}

#[test]
fn they_listen_where_node_ports_answer() -> Result<()> {
    let words = "localhost,198.18.7.0/24";
    let start = Start::new().args(&["--node-port-addresses", words]);
    let bed = OneNode::with(start, |node| {
        vec![checked(node, CHECK, &one_node::web_pods(node))]
    })?;
    let node = &bed.node;
    let answers = |ip: &str| -> Result<bool> {
        let to = SocketAddr::new(ip.parse()?, CHECK);
        Ok(http::ask(node, to, "GET", "/").is_ok_and(|answer| answer.status == 200))
    };
    poll::until_true(CHANGE, "loopback answers", || {
        Ok(answers("127.0.0.1")? && answers("::1")?)
    })?;
    ensure!(!answers(&node.addr().v4.to_string())?, "not asked for");
    for _ in 0..2 {
        ensure!(!answers("198.18.7.1")?);
        node.netns().ip("addr add 198.18.7.1/24 dev eth0\n")?;
        poll::until_true(CHANGE, "a new address answers", || answers("198.18.7.1"))?;
        node.netns().ip("addr del 198.18.7.1/24 dev eth0\n")?;
        poll::until_true(CHANGE, "nothing listens on what has gone", || {
            Ok(listeners(node)? == (2.0, 0.0))
        })?;
    }
    ensure!(answers("127.0.0.1")? && answers("::1")?);
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_told_and_taken_over_when_it_is_free() -> Result<()> {
    let bed = OneNode::with(Start::new(), |_| Vec::new())?;
    let node = &bed.node;
    let wildcard = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), CHECK);
    let squatter = node.block(|| Ok(TcpListener::bind(wildcard)?))?;
    let pods = one_node::web_pods(node);
    bed.apply(&checked(node, CHECK, &pods))?;
    let other = one_node::behind("other", addr::vip(20), &pods[..2])
        .node_port(80, one_node::TARGET, NODE_PORT + 1)
        .ingress(addr::lb(20))
        .spec("externalTrafficPolicy: Local")
        .spec(&format!("healthCheckNodePort: {OTHER}"));
    bed.apply(&other)?;
    // The others go on, and so does the other family of this one.
    answers(node, OTHER, Some((200, "2")))?;
    let v6 = node.addr().at(Family::V6, CHECK);
    poll::until_true(CHANGE, "IPv6 is free", || {
        Ok(http::status(node, v6, "/").is_ok_and(|status| status == 200))
    })?;
    assert_eq!(listeners(node)?, (3.0, 1.0));
    let log = bed.agent.as_ref().context("it runs")?.log()?;
    let lines = log.lines().filter(|line| line.contains("cannot listen"));
    assert_eq!(lines.count(), 1, "{log}");
    drop(squatter);
    answers(node, CHECK, Some((200, "3")))?;
    assert_eq!(listeners(node)?, (4.0, 0.0));
    Ok(())
}

#[test]
fn a_thousand_of_them_are_changed_one_by_one() -> Result<()> {
    const MANY: u16 = 1000;
    // Fewer descriptors than sockets, as service managers start programs.
    let start = Start::new().under(&["prlimit", "--nofile=1024:"]);
    let bed = OneNode::with(start, |_| Vec::new())?;
    let node = &bed.node;
    let pods = one_node::web_pods(node);
    let service = |n: u16, pods: &[Endpoint]| {
        let [high, low] = n.to_be_bytes();
        let both = |net: [u8; 2], high, v6: u16| addr::Both {
            v4: Ipv4Addr::new(net[0], net[1], high, low),
            v6: Ipv6Addr::new(0xfd66, v6, 0, 0, 0, 0, 1, n),
        };
        let (vip, lb) = (
            both([10, 96], 100 + high, 0x96),
            both([198, 19], high, 0x19),
        );
        one_node::behind(&format!("s{n}"), vip, pods)
            .one_port(Kind::Tcp, 80, one_node::TARGET, Some(20_000 + n))
            .ingress(lb)
            .spec("externalTrafficPolicy: Local")
            .spec(&format!("healthCheckNodePort: {}", 22_000 + n))
            .yaml()
    };
    let texts: Vec<String> = (0..MANY).map(|n| service(n, &pods)).collect();
    node.write_manifest("many.yaml", &texts.join("---\n"))?;
    poll::until_true(CHANGE * 2, "all of them listen", || {
        Ok(listeners(node)? == (f64::from(MANY) * 2.0, 0.0))
    })?;
    for n in [0, 1, 500, MANY - 1] {
        answers(node, 22_000 + n, Some((200, "3")))?;
    }

    // A change of one leaves the sockets of all others as they are: a connection to one of them is
    // still open afterwards.
    let at = node.addr().at(Family::V4, 22_001);
    let mut kept = node.block(|| Ok(TcpStream::connect(at)?))?;
    kept.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut ask = || -> Result<String> {
        kept.write_all(b"GET / HTTP/1.1\r\nHost: kept\r\n\r\n")?;
        let mut text = [0; 1024];
        let n = poll::uninterrupted(|| kept.read(&mut text))?;
        Ok(String::from_utf8_lossy(&text[..n]).into_owned())
    };
    ensure!(ask()?.starts_with("HTTP/1.1 200"));
    let mut changed = texts.clone();
    changed[0] = service(0, &pods[..1]);
    changed.truncate(usize::from(MANY) / 2);
    node.write_manifest("many.yaml", &changed.join("---\n"))?;
    answers(node, 22_000, Some((200, "1")))?;
    answers(node, 22_000 + MANY - 1, None)?;
    ensure!(ask()?.starts_with("HTTP/1.1 200"), "it was restarted");
    assert_eq!(listeners(node)?, (f64::from(MANY), 0.0));
    // Its own end closes it.
    node.remove_manifest("many.yaml")?;
    answers(node, 22_001, None)?;
    assert_eq!(ask().unwrap_or_default(), "");
    Ok(())
}

/// Ports whose floods together are more than what all of them share.
const FLOODED: u16 = 9;
/// More than one port takes.
const FLOOD: usize = 700;

#[test]
fn flooded_health_check_ports_starve_no_other_service() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| {
        let pods = one_node::web_pods(node);
        let service = |n: u8| {
            one_node::behind(&format!("s{n}"), addr::vip(80 + n), &pods)
                .one_port(Kind::Tcp, 80, one_node::TARGET, Some(30_100 + u16::from(n)))
                .ingress(addr::lb(80 + n))
                .spec("externalTrafficPolicy: Local")
                .spec(&format!("healthCheckNodePort: {}", 32_100 + u16::from(n)))
        };
        (0..10).map(service).collect()
    })?;
    let node = &bed.node;
    let (outside, quiet) = (bed.lan.client(1)?, 32_100 + FLOODED);
    answers(node, quiet, Some((200, "3")))?;
    // The test holds a descriptor for each connection.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    // Each asks once and keeps its connection.
    let mut kept = outside.block(|| {
        let mut kept = Vec::new();
        for n in 0..FLOODED {
            let at = node.addr().at(Family::V4, 32_100 + n);
            for _ in 0..FLOOD {
                let mut stream = TcpStream::connect(at)?;
                // One that found no place is closed already.
                let _closed = stream.write_all(b"GET / HTTP/1.1\r\nHost: flood\r\n\r\n");
                kept.push(stream);
            }
        }
        Ok(kept)
    })?;
    let mut open = 0;
    for stream in &mut kept {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let read = poll::uninterrupted(|| stream.read(&mut [0; 16]));
        open += usize::from(read.is_ok_and(|n| n > 0));
    }
    // Theirs alone are 9 times 16; the rest they share.
    ensure!((4_096..=4_096 + 9 * 16).contains(&open), "{open} are open");
    for _ in 0..16 {
        answers(node, quiet, Some((200, "3")))?;
    }
    drop(kept);
    answers(node, 32_100, Some((200, "3")))
}
