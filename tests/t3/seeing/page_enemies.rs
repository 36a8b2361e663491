//! The page and those who mean harm: what they name, what they ask, and from where.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    agent::{CHANGE, METRICS, Start},
    host::Host,
    http,
    one_node::{self, OneNode},
    poll,
    probe::{Family, Kind},
};

use super::{bed, page::get};

/// Endpoints by Service: its cluster IP and its node port, and what makes it special.
const WAYS: [(&str, &str, u16, &str); 3] = [
    ("plain", "10.96.7.1", 30_091, "x: y"),
    ("snat", "10.96.7.2", 30_092, "lb-agent.io/forwarding: snat"),
    ("loopback", "10.96.7.3", 30_093, "x: y"),
];

/// What pods send to where no pod is gets the node's address.
const MASQUERADED: &str = "add table ip outside; \
    add chain ip outside post { type nat hook postrouting priority 100; }; \
    add rule ip outside post ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade";

/// For an answer.
const SHOWN: Duration = Duration::from_secs(10);
/// Silent clients at once.
const SILENT: usize = 64;

#[test]
fn nothing_is_hidden_in_what_is_shown() -> Result<()> {
    let bed = bed()?;
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: odd, namespace: default}\n\
        spec: {clusterIP: 10.96.7.1, ports: [{port: 80}]}\n---\n\
        apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: odd, namespace: default, labels: {kubernetes.io/service-name: odd}}\n\
        addressType: IPv4\nports: [{port: 80}]\nendpoints: [{addresses: [10.9.0.1], nodeName: \"one\\u202etwo\", zone: \"a\\u200bb\", targetRef: {kind: Pod, name: \"p\\e[2J\\u2066<u>\"}}]\n";
    bed.node.write_manifest("odd.yaml", text)?;
    let html = poll::until(CHANGE, "it is shown", || {
        let html = get(&bed, "/?q=10.96.7.1")?.body;
        Ok(html.contains("10.9.0.1").then_some(html))
    })?;
    for shown in ["one\u{fffd}two", "a\u{fffd}b", "[2J\u{fffd}&#60;u&#62;"] {
        ensure!(html.contains(shown), "no {shown} in\n{html}");
    }
    let asked = get(&bed, "/?q=%E2%80%AEx%1B")?.body;
    for page in [html, asked] {
        let hidden = ['\u{202e}', '\u{200b}', '\u{2066}', '\u{1b}'];
        ensure!(!page.contains(hidden), "{page:?}");
    }
    Ok(())
}

#[test]
fn a_name_of_a_stranger_is_refused_in_each_place() -> Result<()> {
    let bed = bed()?;
    for (path, host, status) in [
        ("/", METRICS, 200),
        ("http://127.0.0.1:10249/", METRICS, 200),
        ("http://stranger.example/", METRICS, 403),
        ("http://127.0.0.1@stranger.example/", METRICS, 403),
        ("/", "127.0.0.1\r\nHost: stranger.example", 403),
        ("/", "stranger.example\r\nHost: 127.0.0.1", 403),
        ("/page.js", "127.0.0.1:stranger", 403),
        ("/", "", 403),
    ] {
        let answer = http::ask_for(&bed.node, METRICS.parse()?, "GET", path, host)?;
        assert_eq!(answer.status, status, "{path} {host:?}");
    }
    Ok(())
}

#[test]
fn no_service_leads_others_to_it() -> Result<()> {
    let bed = OneNode::with(
        Start::new().args(&["--metrics-bind-address", "0.0.0.0:10249"]),
        |node| vec![one_node::web(node)],
    )?;
    let own = bed.node.addr().v4.to_string();
    let mut text = String::new();
    for (name, vip, node_port, annotation) in WAYS {
        let end = if name == "loopback" {
            "127.0.0.1"
        } else {
            &own
        };
        writeln!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: hole, annotations: {{{annotation}}}}}\n\
             spec: {{type: NodePort, clusterIP: {vip}, ports: [{{port: 80, nodePort: {node_port}}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: hole, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             addressType: IPv4\nports: [{{port: 10249}}]\nendpoints: [{{addresses: [{end}], nodeName: node-1}}]"
        )?;
    }
    bed.node.write_manifest("hole.yaml", &text)?;
    poll::until_true(CHANGE, "all are there", || {
        let html = get(&bed, "/?q=hole/")?.body;
        Ok(WAYS.iter().all(|(_, vip, ..)| html.contains(vip)))
    })?;
    let outside = bed.lan.client(1)?;
    let status = |from: &Host, to, path: &str| {
        let answer = http::ask_for(from, to, "GET", path, "127.0.0.1");
        answer.map(|answer| answer.status)
    };
    for rules in ["list ruleset", MASQUERADED] {
        bed.node.run(&["nft", rules])?;
        for (name, vip, node_port, _) in WAYS {
            let node_port = bed.node.addr().at(Family::V4, node_port);
            let vip = format!("{vip}:80").parse()?;
            for to in [node_port, vip] {
                let page = by_socket(&bed, to);
                let refused = |text: &String| text.starts_with("HTTP/1.1 403 ");
                ensure!(
                    page.as_ref().map_or(true, refused),
                    "{name}: a pod's socket at {to}: {page:?}"
                );
            }
            for (who, from, to) in [
                ("outside", outside.host(), node_port),
                ("a pod", bed.client().host(), node_port),
                ("a pod", bed.client().host(), vip),
            ] {
                // There may be no way at all.
                let page = status(from, to, "/");
                ensure!(
                    page.as_ref().map_or(true, |status| *status == 403),
                    "{name}: {who} at {to}, {rules:?}: {page:?}"
                );
            }
        }
    }
    // There is a way, and so the page itself has refused.
    let [(_, vip, node_port, _), ..] = WAYS;
    let vip = format!("{vip}:80").parse()?;
    let node_port = bed.node.addr().at(Family::V4, node_port);
    assert_eq!(status(outside.host(), node_port, "/metrics")?, 200);
    for to in [vip, node_port] {
        let page = by_socket(&bed, to)?;
        ensure!(page.starts_with("HTTP/1.1 403 "), "{to}: {page}");
    }
    Ok(())
}

/// What a pod's socket is told, which the hooks of the agent see.
fn by_socket(bed: &OneNode, to: SocketAddr) -> Result<String> {
    let sock = bed.client().connect(Kind::Tcp, to)?;
    sock.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")?;
    Ok(sock.recv_within(SHOWN)?.text)
}

#[test]
fn clients_that_never_ask_keep_nobody_out() -> Result<()> {
    let bed = bed()?;
    let at: SocketAddr = METRICS.parse()?;
    let silent = bed.node.block(|| {
        let one = |n| {
            let mut stream = TcpStream::connect(at)?;
            if n % 2 == 0 {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1")?;
            }
            Ok(stream)
        };
        (0..SILENT).map(one).collect::<Result<Vec<_>>>()
    })?;
    get(&bed, "/").context("another client")?;
    drop(silent);
    Ok(())
}
