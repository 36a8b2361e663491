//! The page in a real browser: without scripts, with them, by keys, light and dark.

use std::{env, fmt::Write as _, fs, net::SocketAddr, path::Path};

use anyhow::{Result, ensure};
use testbed::{
    agent::{CHANGE, METRICS, Start},
    browser::{Browser, Scripts},
    http,
    one_node::{self, OneNode, PORT},
    poll,
    probe::{Family, HammerPlan, Kind},
};

use super::bed;

/// Bytes of a picture, so that the repository stays small.
const MOST: usize = 150_000;

fn url(query: &str) -> String {
    format!("http://{METRICS}/{query}")
}

fn browser(bed: &OneNode) -> Result<Browser> {
    Browser::start(&bed.node, bed.node.files())
}

#[test]
fn the_first_view_needs_no_script() -> Result<()> {
    let bed = bed()?;
    let mut browser = browser(&bed)?;
    browser.size(1280, 900)?;
    browser.scripts(Scripts::Off)?;
    browser.open(&url(""))?;
    let is = |browser: &mut Browser, what: &str, expression: &str| -> Result<()> {
        let value = browser.evaluate(expression)?;
        ensure!(value == true, "{what}: {expression} is {value}");
        Ok(())
    };
    let b = &mut browser;
    is(
        b,
        "no script has run",
        "document.documentElement.dataset.live === undefined",
    )?;
    is(
        b,
        "its controls are hidden",
        "document.querySelector('.live').hidden",
    )?;
    is(
        b,
        "the style is applied",
        "getComputedStyle(document.querySelector('.n')).textAlign === 'right'",
    )?;
    let row = "[...document.querySelectorAll('.services > tbody > tr')].find(r => r.innerText.includes('default/web') && r.innerText.includes('TCP'))";
    is(b, "a row is there", &format!("{row} !== undefined"))?;
    is(
        b,
        "its backends are hidden",
        &format!("!{row}.innerText.includes('default/web-3')"),
    )?;
    b.evaluate(&format!("{row}.querySelector('summary').focus()"))?;
    b.key("Enter")?;
    b.until(
        "and shown when it is opened",
        &format!("{row}.innerText.includes('default/web-3')"),
    )?;
    // What is opened stands below the line, over the width of the table.
    is(
        b,
        "wide",
        &format!(
            "{row}.querySelector('.inner > div').getBoundingClientRect().width > {row}.getBoundingClientRect().width * 0.9"
        ),
    )?;
    is(
        b,
        "nothing sticks out",
        "document.documentElement.scrollWidth <= innerWidth",
    )?;
    b.evaluate(
        "document.querySelector('#q').value = 'other udp'; document.querySelector('#q').focus()",
    )?;
    b.key("Enter")?;
    b.until("the form searches", "location.search === '?q=other+udp' && document.querySelectorAll('.services > tbody > tr').length === 1")?;
    Ok(())
}

#[test]
fn it_looks_again_searches_while_one_types_and_knows_keys() -> Result<()> {
    let bed = bed()?;
    let mut browser = browser(&bed)?;
    let b = &mut browser;
    b.open(&url(""))?;
    b.until(
        "the script runs",
        "document.documentElement.dataset.live === 'yes'",
    )?;
    b.key("j")?;
    b.until(
        "a row has the focus",
        "document.activeElement.parentElement.dataset.id === 'TCP default/other:tcp-80'",
    )?;
    b.key("j")?;
    b.key("j")?;
    b.key("k")?;
    b.until(
        "the next one",
        "document.activeElement.parentElement.dataset.id === 'UDP default/other:udp-80'",
    )?;
    b.key("Enter")?;
    b.until("it is open", "document.activeElement.parentElement.open")?;
    // It looks again by itself, and what is open and focused stays so.
    b.evaluate("document.getElementById('view').old = true")?;
    let pods = one_node::web_pods(&bed.node);
    bed.apply(
        &one_node::behind("third", testbed::addr::vip(73), &pods).port(PORT, one_node::TARGET),
    )?;
    b.until(
        "a new Service is shown",
        "document.body.innerText.includes('default/third')",
    )?;
    b.until("in place", "document.getElementById('view').old === undefined && document.activeElement.parentElement.open && document.activeElement.parentElement.dataset.id === 'UDP default/other:udp-80'")?;
    b.key("/")?;
    b.until(
        "the search has the focus",
        "document.activeElement.id === 'q'",
    )?;
    for letter in ["t", "h", "i", "r", "d"] {
        b.key(letter)?;
    }
    b.until("it is searched", "location.search === '?q=third' && document.querySelectorAll('.services > tbody > tr').length === 2")?;
    b.until(
        "and typing goes on",
        "document.activeElement.id === 'q' && document.activeElement.value === 'third'",
    )?;
    b.key("Escape")?;
    b.key("?")?;
    b.until(
        "the keys are explained",
        "document.getElementById('help').open",
    )?;
    b.key("Escape")?;
    b.until("and no more", "!document.getElementById('help').open")?;
    b.key("l")?;
    b.until(
        "it pauses",
        "document.getElementById('pause').getAttribute('aria-pressed') === 'true'",
    )?;
    Ok(())
}

#[test]
fn a_script_in_a_name_does_not_run() -> Result<()> {
    let bed = bed()?;
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: '<script>window.broken = 1</script>', annotations: {lb-agent.io/colour: '<img src=x onerror=\"window.broken = 1\">'}}\nspec: {clusterIP: 10.96.7.1, ports: [{port: 80}]}\n";
    bed.node.write_manifest("odd.yaml", text)?;
    let mut browser = browser(&bed)?;
    let b = &mut browser;
    b.open(&url(""))?;
    b.until(
        "it is shown as it is",
        "document.body.innerText.includes('<script>window.broken')",
    )?;
    ensure!(b.evaluate("window.broken === undefined && document.images.length === 0")? == true);
    // Nor would one that is somehow there.
    b.evaluate("const s = document.createElement('script'); s.textContent = 'window.broken = 1'; document.body.append(s)")?;
    ensure!(
        b.evaluate("window.broken === undefined")? == true,
        "the policy forbids it"
    );
    Ok(())
}

/// A Service as a shop has it.
fn service(namespace: &str, name: &str, ip: &str, spec: &str, annotations: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}, annotations: {{{annotations}}}}}\n\
         spec: {{clusterIP: {ip}, {spec}}}\n"
    )
}

/// Endpoints of it: the pods of the bed, under names of its own, one of them said to be elsewhere.
fn slice(bed: &OneNode, namespace: &str, name: &str, port: &str, target: u16) -> Result<String> {
    let mut text = format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}\n\
         addressType: IPv4\nports: [{{name: {port}, port: {target}}}]\nendpoints:\n"
    );
    for (n, pod) in bed.node.pods()[..one_node::WEB.len()].iter().enumerate() {
        let (address, node, zone) = match n {
            2 => (pod.addr().v4, "node-2", "eu-1b"),
            _ => (pod.addr().v4, "node-1", "eu-1a"),
        };
        writeln!(
            text,
            "- {{addresses: [{address}], nodeName: {node}, zone: {zone}, targetRef: {{kind: Pod, name: {name}-7d9c5-{n}}}}}"
        )?;
    }
    Ok(text)
}

/// What the shop has: namespace, name, address, port and its name, more of the port, annotations.
const SHOP: [(&str, &str, &str, u16, &str, &str, &str); 8] = [
    ("default", "kubernetes", "10.96.0.1", 443, "https", "", ""),
    (
        "kube-system",
        "kube-dns",
        "10.96.0.53",
        53,
        "dns-tcp",
        "",
        "",
    ),
    ("monitoring", "prometheus", "10.96.3.9", 9090, "web", "", ""),
    (
        "shop",
        "cart",
        "10.96.1.20",
        80,
        "http",
        "",
        "lb-agent.io/scheduler: rr",
    ),
    (
        "shop",
        "checkout",
        "10.96.1.21",
        80,
        "http",
        "",
        "lb-agent.io/scheduler: lc",
    ),
    (
        "shop",
        "frontend",
        "10.96.1.10",
        80,
        "http",
        ", nodePort: 30080",
        "",
    ),
    ("shop", "payments", "10.96.1.22", 80, "http", "", ""),
    (
        "shop",
        "search",
        "10.96.1.23",
        80,
        "http",
        "",
        "lb-agent.io/colour: blue",
    ),
];
/// So that some bars are to be seen.
const SMALL: &str = "lb_frontends=64,lb_backends=64,lb_pools=32,lb_slots=64,lb_members=256";
/// Nobody serves it.
const UNSERVED: &str = "payments";

/// A node of a small shop, with one Service that nobody serves and one that asks for what there is
/// not.
fn shop(config: &Path) -> Result<OneNode> {
    let path = config.display().to_string();
    let bed = OneNode::with(
        Start::new().args(&["--config", &path, "--map-capacity", SMALL]),
        |_| Vec::new(),
    )?;
    let mut text = String::new();
    for (target, (namespace, name, ip, port, port_name, more, annotations)) in (9000..).zip(SHOP) {
        let kind = if more.is_empty() {
            "ClusterIP"
        } else {
            "NodePort"
        };
        let ports = format!("type: {kind}, ports: [{{name: {port_name}, port: {port}{more}}}]");
        text += &service(namespace, name, ip, &ports, annotations);
        if name != UNSERVED {
            text += &slice(&bed, namespace, name, port_name, target)?;
        }
        for pod in &bed.node.pods()[..one_node::WEB.len()] {
            pod.serve(target)?;
        }
    }
    bed.node.write_manifest("shop.yaml", &text)?;
    poll::until_true(CHANGE, "the shop is open, and its maps are audited", || {
        let page = http::ask(&bed.node, METRICS.parse()?, "GET", "/?q=shop/search")?;
        Ok(page.body.contains("search-7d9c5-0") && page.body.contains("had written it"))
    })?;
    Ok(bed)
}

/// The pictures of `docs/page.md`: `UPDATE=1` takes them anew.
#[test]
fn pictures_are_light_and_dark_and_small() -> Result<()> {
    let config = tempfile::NamedTempFile::new()?;
    let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\niptables: {syncPeriod: 1s}\n";
    fs::write(config.path(), text)?;
    let bed = shop(config.path())?;
    let client = bed.lan.client(1)?;
    let at = |name: &str| {
        let found = SHOP.iter().find(|service| service.1 == name);
        found
            .map(|s| SocketAddr::new(s.2.parse().expect("an address"), s.3))
            .expect("it is there")
    };
    let plan = |to| HammerPlan {
        kind: Kind::Tcp,
        connected: true,
        to,
        allowed: Vec::new(),
    };
    let _busy = [
        bed.client().hammer(plan(at("cart")))?,
        bed.client().hammer(plan(at("checkout")))?,
        client.hammer(plan(bed.node.addr().at(Family::V4, 30080)))?,
    ];
    let mut held = Vec::new();
    for (name, connections) in [
        ("cart", 12),
        ("checkout", 5),
        ("kube-dns", 3),
        ("prometheus", 2),
    ] {
        for _ in 0..connections {
            held.push(bed.client().connect(Kind::Tcp, at(name))?);
        }
    }
    for _ in 0..37 {
        ensure!(
            bed.client().connect(Kind::Tcp, at(UNSERVED)).is_err(),
            "nobody serves it"
        );
    }
    let mut browser = browser(&bed)?;
    let b = &mut browser;
    b.size(1280, 1230)?;
    for (scheme, ground) in [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 27)")] {
        b.colours(scheme)?;
        b.open(&url(""))?;
        b.until("a row is opened", "(() => { const d = document.querySelector('[data-id=\"TCP shop/cart:http\"]'); d.open = true; return d.open; })()")?;
        let shown = b.evaluate("getComputedStyle(document.body).backgroundColor")?;
        ensure!(shown == ground, "{scheme}: {shown}");
        let picture = b.screenshot()?;
        ensure!(&picture[8..12] == b"WEBP", "no picture");
        ensure!(picture.len() < MOST, "{scheme}: {} bytes", picture.len());
        if env::var_os("UPDATE").is_some() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/page");
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(format!("{scheme}.webp")), picture)?;
        }
    }
    Ok(())
}
