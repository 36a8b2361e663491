//! The page: what it shows, to whom, and that nothing can be changed through it.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use testbed::{
    agent::{CHANGE, METRICS, Start},
    http::{self, Answer},
    one_node::{self, OneNode, PORT, WEB_VIP},
    poll,
    probe::{Family, Kind},
};

use super::bed;

/// The agent's address of metrics, seen from its node.
fn here() -> std::net::SocketAddr {
    std::net::SocketAddr::from(([127, 0, 0, 1], 10249))
}

/// The page.
pub(super) fn get(bed: &OneNode, path: &str) -> Result<Answer> {
    let answer = http::ask(&bed.node, here(), "GET", path)?;
    ensure!(
        answer.status == 200,
        "{path}: {} {}",
        answer.line,
        answer.body
    );
    Ok(answer)
}

/// The texts between tags.
fn words(html: &str) -> String {
    let texts = html.split('<').filter_map(|part| part.split_once('>'));
    let texts = texts.flat_map(|(_, text)| text.split_whitespace());
    texts.collect::<Vec<_>>().join(" ")
}

/// The rows of the list: the part of each from its name on.
fn rows(html: &str) -> Vec<String> {
    let rows = html.split("<th scope=\"row\">").skip(1);
    rows.filter(|row| row.contains("class=\"at\""))
        .map(|row| words(&format!("<th>{row}")))
        .collect()
}

/// The words of one row.
fn row(html: &str, name: &str, protocol: &str) -> Result<Vec<String>> {
    let all = rows(html);
    let all = all.iter().map(|row| row.split(' ').map(str::to_owned));
    let mut all = all.map(Iterator::collect::<Vec<_>>);
    let found = all.find(|row| row[0] == name && row[2] == protocol);
    found.with_context(|| format!("no {name}"))
}

#[test]
fn services_are_shown_with_backends_counts_and_what_is_refused() -> Result<()> {
    let bed = bed()?;
    let to = WEB_VIP.at(Family::V4, PORT);
    let _held = bed.client().connect(Kind::Tcp, to)?;
    let gone = testbed::addr::vip(72);
    bed.apply(&one_node::behind("gone", gone, &[]).port(PORT, one_node::TARGET))?;
    poll::until_true(CHANGE, "a Service without backends refuses", || {
        let refused = bed.client().connect(Kind::Tcp, gone.at(Family::V4, PORT));
        let text = words(&get(&bed, "/")?.body);
        Ok(refused.is_err() && text.contains("sock_no_endpoint"))
    })?;
    let hammer = bed.hammer_web()?;
    let first = poll::until(CHANGE, "connections a second are shown", || {
        let first = get(&bed, "/?sort=connections")?;
        let busy = row(&first.body, "default/web", "TCP")?;
        let rate: f64 = busy[8].replace(',', "").parse()?;
        Ok((rate > 1.0).then_some(first))
    })?;
    hammer.stop()?;
    assert_eq!(
        first.header("Content-Type"),
        Some("text/html; charset=utf-8")
    );
    let text = words(&first.body);
    for part in [
        concat!("lb-agent ", env!("CARGO_PKG_VERSION")),
        "node-1",
        "ready",
        "default/web",
        "default/other",
        &to.to_string(),
        "*:30080",
        "random",
        "default/web-1",
        "zone-a",
        "this node",
        "sock_no_endpoint",
        "the service has no endpoint",
        "lb_frontends",
        "Everything that Services ask for is programmed.",
    ] {
        ensure!(text.contains(part), "no {part} in\n{text}");
    }
    // A heading for each column and row, and a name for each table.
    let count = |tag: &str| first.body.matches(tag).count();
    assert_eq!(count("<table"), count("<caption"));
    ensure!(count("<th scope=\"col\"") > 10 && count("<th scope=\"row\"") > 10);
    let handler = |rest: &str| {
        rest.trim_start_matches(char::is_alphabetic)
            .starts_with('=')
    };
    ensure!(!first.body.contains("style=") && !first.body.split(" on").skip(1).any(handler));
    // Name, port, protocol, address, further ones, scheduler, ready, active, rate.
    let web = row(&first.body, "default/web", "TCP")?;
    assert_eq!(
        web[..7],
        [
            "default/web",
            "tcp-80",
            "TCP",
            &to.to_string(),
            "+5",
            "random",
            "6/6"
        ]
    );
    ensure!(
        web[7].parse::<u64>()? >= 1,
        "the connection that is held: {web:?}"
    );
    let gone = row(&first.body, "default/gone", "TCP")?.join(" ");
    ensure!(gone.contains("none 0/0"), "{gone}");
    Ok(())
}

#[test]
fn names_are_text_and_never_markup() -> Result<()> {
    let bed = bed()?;
    let text = "apiVersion: v1\nkind: Service\nmetadata:\n  name: <script>alert(1)</script>\n  annotations:\n    lb-agent.io/scheduler: '<img src=x onerror=alert(2)>'\n\
        spec: {clusterIP: 10.96.7.1, ports: [{name: '\"><b>', port: 80}]}\n---\n\
        apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: odd, labels: {kubernetes.io/service-name: <script>alert(1)</script>}}\n\
        addressType: IPv4\nports: [{name: '\"><b>', port: 80}]\nendpoints: [{addresses: [10.9.0.1], nodeName: '<i>', zone: '&amp;', targetRef: {kind: Pod, name: '<u>'}}]\n";
    bed.node.write_manifest("odd.yaml", text)?;
    let html = poll::until(CHANGE, "it is shown", || {
        let html = get(&bed, "/?q=10.96.7.1")?.body;
        Ok(html.contains("alert(1)").then_some(html))
    })?;
    for markup in ["<script>", "<img", "<b>\"", "\"><b>", "<i>", "<u>"] {
        ensure!(!html.contains(markup), "{markup} in\n{html}");
    }
    for shown in [
        "&#60;script&#62;alert(1)",
        "&#60;img src=x onerror",
        "&#60;u&#62;",
        "&#38;amp;",
    ] {
        ensure!(html.contains(shown), "no {shown} in\n{html}");
    }
    let asked = get(&bed, "/?q=%22%3E%3Cscript%3Ealert(3)%3C/script%3E")?.body;
    ensure!(
        !asked.contains("<script>alert(3)") && asked.contains("alert(3)"),
        "{asked}"
    );
    Ok(())
}

#[test]
fn a_search_finds_names_and_places_and_pages_are_bounded() -> Result<()> {
    let bed = bed()?;
    let mut many = String::new();
    for n in 0..450 {
        writeln!(
            many,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: many-{n:03}, namespace: crowd}}\n\
             spec: {{clusterIP: 10.97.{}.{}, ports: [{{port: 80}}]}}",
            n / 250,
            n % 250 + 1
        )?;
    }
    bed.node.write_manifest("many.yaml", &many)?;
    poll::until_true(CHANGE, "all are shown", || {
        Ok(words(&get(&bed, "/?q=crowd")?.body).contains("of 450 Service ports found"))
    })?;
    for (path, expected) in [
        ("/?q=default/web:", 2),
        // Pods of `web` are behind `other`, too.
        ("/?q=WEB+udp", 2),
        ("/?q=web-1", 4),
        ("/?q=zone-a+tcp", 1),
        ("/?q=30080+tcp", 1),
        ("/?q=crowd/many-01", 10),
        ("/?q=10.97.1.+no-endpoint", 200),
        ("/?q=nobody", 0),
        ("/?q=crowd", 200),
        ("/?q=crowd&page=3", 50),
        // The last one that there is.
        ("/?q=crowd&page=9", 50),
        ("/?q=crowd&page=-1&sort=age", 200),
        // Of what is there twice, the last one.
        ("/?q=nobody&q=web-1", 4),
        // One row, and none whose name is longer.
        ("/?only=TCP+default/web:tcp-80", 1),
        ("/?only=TCP+default/web:tcp-8", 0),
    ] {
        assert_eq!(rows(&get(&bed, path)?.body).len(), expected, "{path}");
    }
    let first = get(&bed, "/?q=crowd")?.body;
    ensure!(
        words(&first).contains("1–200 of 450 Service ports found; 250 more"),
        "{first}"
    );
    ensure!(
        first.contains("rel=\"next\" href=\"?q=crowd&amp;sort=name&amp;page=2\""),
        "{first}"
    );
    let last = get(&bed, "/?q=crowd&page=3")?.body;
    ensure!(rows(&last)[49].starts_with("crowd/many-449 ") && !last.contains("rel=\"next\""));
    let hammer = bed.hammer_web()?;
    poll::until_true(CHANGE, "the busiest is first", || {
        let busiest = get(&bed, "/?sort=connections")?.body;
        Ok(rows(&busiest)[0].starts_with("default/web "))
    })?;
    hammer.stop()?;
    Ok(())
}

#[test]
fn what_is_not_programmed_and_what_has_drifted_is_said() -> Result<()> {
    let config = tempfile::NamedTempFile::new()?;
    let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\niptables: {syncPeriod: 1s}\n";
    std::fs::write(config.path(), text)?;
    let path = config.path().display().to_string();
    let bed = OneNode::with(Start::new().args(&["--config", &path]), |node| {
        vec![one_node::web(node)]
    })?;
    bed.apply(&one_node::web(&bed.node).annotate("lb-agent.io/colour", "blue"))?;
    poll::until_true(CHANGE, "the problem is shown", || {
        let text = words(&get(&bed, "/")?.body);
        Ok(text.contains("1 not fully programmed")
            && text.contains("default/web partly programmed")
            && text.contains("lb-agent.io/colour")
            && text.contains("found every map as the agent had written it"))
    })?;
    let pin = bed.node.map_pin("lb_nodeaddrs");
    let dump = bed
        .node
        .run(&["bpftool", "-j", "map", "dump", "pinned", &pin])?;
    let dump: serde_json::Value = serde_json::from_str(&dump)?;
    let key = dump[0]["key"].as_array().context("an entry")?;
    let key: Vec<&str> = key.iter().filter_map(|byte| byte.as_str()).collect();
    let delete = ["bpftool", "map", "delete", "pinned", &pin, "key"];
    bed.node.run(&[&delete, &key[..]].concat())?;
    poll::until_true(CHANGE, "the drift is shown", || {
        let text = words(&get(&bed, "/")?.body);
        Ok(text.contains("Repaired since the start lb_nodeaddrs"))
    })
}

#[test]
fn it_is_shown_to_this_node_alone_and_changes_nothing() -> Result<()> {
    let bed = OneNode::with(
        Start::new().args(&["--metrics-bind-address", "0.0.0.0:10249"]),
        |node| vec![one_node::web(node)],
    )?;
    let ask =
        |method: &str, path: &str, host: &str| http::ask_for(&bed.node, here(), method, path, host);
    let page = ask("GET", "/", METRICS)?;
    let policy = page.header("Content-Security-Policy").context("a policy")?;
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
    ] {
        ensure!(policy.contains(part), "{policy}");
    }
    for (name, value) in [
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    for (path, kind) in [
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
    ] {
        let file = ask("GET", path, METRICS)?;
        assert_eq!(
            (file.status, file.header("Content-Type")),
            (200, Some(kind))
        );
        assert_eq!(file.header("Content-Security-Policy"), Some(policy));
    }
    let head = ask("HEAD", "/", METRICS)?;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let answer = ask(method, "/", METRICS)?;
        assert_eq!(
            (answer.status, answer.header("Allow")),
            (405, Some("GET,HEAD")),
            "{method}"
        );
    }
    assert_eq!(ask("GET", "/else", METRICS)?.status, 404);

    let at_node = bed.node.addr().at(Family::V4, 10249).to_string();
    for (host, status) in [
        ("localhost:8080", 200),
        ("[::1]:8080", 200),
        (at_node.as_str(), 200),
        ("stranger.example", 403),
        ("stranger.example:10249", 403),
        ("127.0.0.1.stranger.example:10249", 403),
        ("lb-agent.kube-system.svc:10249", 403),
    ] {
        assert_eq!(ask("GET", "/", host)?.status, status, "{host}");
        // Prometheus has other names for it.
        assert_eq!(ask("GET", "/metrics", host)?.status, 200, "{host}");
    }
    let client = bed.lan.client(1)?;
    let to = bed.node.addr().at(Family::V4, 10249);
    for (from, path, status) in [
        (bed.client().host(), "/", 403),
        (bed.client().host(), "/metrics", 200),
        (client.host(), "/", 403),
        (client.host(), "/page.js", 403),
        (client.host(), "/metrics", 200),
        (&*bed.node, "/", 200),
    ] {
        assert_eq!(http::status(from, to, path)?, status, "{path}");
    }
    Ok(())
}
