//! The chart on the real API server, and the agent with exactly the arguments, environment, files,
//! rights and capabilities that the API server then says its DaemonSet has.

use std::{ffi::OsString, fs, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Pod, Secret},
    events::v1::Event,
};
use serde_json::json;
use testbed::{
    agent::{self, CHANGE},
    cluster::{
        Client, Cluster, Container, Daemon, KubeProxy, SERVICE_HOST,
        chart::{self, path_str},
        container::Host,
        objects::{cluster_ip, node_port, object, service},
    },
    node::Node,
    poll,
    probe::{Family, Kind},
};

/// A first start verifies every program.
const START: Duration = Duration::from_mins(1);
/// By their numbers.
const CAPABILITIES: [(&str, u64); 4] = [
    ("BPF", 1 << 39),
    ("NET_ADMIN", 1 << 12),
    ("PERFMON", 1 << 38),
    ("SYS_ADMIN", 1 << 21),
];

/// A release, and the machine it runs on.
struct Installed<'a> {
    cluster: &'a Cluster,
    node: &'a Node,
    container: Container,
    token: String,
    /// So that a second process of the container has a second log.
    starts: usize,
}

impl<'a> Installed<'a> {
    fn new(cluster: &'a Cluster, node: &'a Node, release: &str, values: &[&str]) -> Result<Self> {
        let said = chart::install(cluster.control_plane(), cluster.sandbox(), release, values)?;
        ensure!(
            said.contains("STATUS: deployed") && said.contains("runs as DaemonSet"),
            "{said}"
        );
        let sets = cluster.client().list::<DaemonSet>(
            "kube-system",
            &format!("app.kubernetes.io/instance={release}"),
        )?;
        let [daemon_set] = sets.as_slice() else {
            anyhow::bail!("{} DaemonSets of {release}", sets.len())
        };
        let container = Container::of(daemon_set)?;
        // The last one is for `socketReset`.
        let all = CAPABILITIES.map(|(name, _)| name);
        let wanted = match container.flag("socket-reset") {
            Some("off") => &all[..3],
            _ => &all,
        };
        assert_eq!(container.capabilities()?, wanted);
        let account = daemon_set
            .spec
            .template
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref());
        let token = chart::token(
            cluster.control_plane(),
            "kube-system",
            account.context("no ServiceAccount")?,
        )?;
        Ok(Self {
            cluster,
            node,
            container,
            token,
            starts: 0,
        })
    }

    /// Its rights: what the agent has to read, and no more.
    fn check_rights(&self) -> Result<()> {
        let kubeconfig = self
            .cluster
            .control_plane()
            .kubeconfig(self.node.name(), &self.token)?;
        let client = Client::new(self.node.netns(), &kubeconfig)?;
        client.list::<k8s_openapi::api::core::v1::Service>("default", "")?;
        for refused in [
            client.list::<Pod>("default", "").map(drop),
            client.list::<Secret>("default", "").map(drop),
        ] {
            let error = refused
                .err()
                .context("the agent's account may read what it must not")?;
            ensure!(format!("{error:#}").contains("forbidden"), "{error:#}");
        }
        Ok(())
    }

    /// A ready agent.
    fn start(&mut self) -> Result<Daemon> {
        let mut agent = self.start_without_waiting()?;
        self.wait_ready(&mut agent)?;
        Ok(agent)
    }

    fn start_without_waiting(&mut self) -> Result<Daemon> {
        let words = self.words(&self.container)?;
        self.starts += 1;
        let name = format!("container-{}", self.starts);
        let agent = Daemon::start(&name, &words, self.node.sandbox(), self.node.files())?;
        Ok(agent.telling())
    }

    fn words(&self, container: &Container) -> Result<Vec<OsString>> {
        let files = self.node.files().join("host");
        let host = Host {
            node: self.node.name(),
            bpffs: self.node.bpf_dir(),
            cgroup: self.node.root_cgroup().path(),
            home: self.node.cgroup().path(),
            files: &files,
            token: &self.token,
            ca: &self.cluster.control_plane().ca(),
            binary: &agent::binary()?,
        };
        for map in self.cluster.client().list("kube-system", "")? {
            host.put(&map)?;
        }
        for secret in self.cluster.client().list("kube-system", "")? {
            host.put_secret(&secret)?;
        }
        container.words(&host)
    }

    /// What `helm test` does: its pod, on this node; the output.
    fn helm_test(&self, values: &[&str]) -> Result<String> {
        let documents = chart::template(self.cluster.control_plane().dir(), values)?;
        let pod = documents
            .into_iter()
            .find(|document| document["kind"] == "Pod");
        let pod: Pod = serde_json::from_value(pod.context("the chart has no test")?)?;
        let container = Container::of_pod(pod.spec.context("the test's pod has no spec")?)?;
        assert_eq!(container.capabilities()?, ["BPF"]);
        self.node.run(&self.words(&container)?)
    }

    /// As a kubelet asks; then a look at what the process may do.
    fn wait_ready(&self, agent: &mut Daemon) -> Result<()> {
        let url = self.container.readiness()?;
        let (address, path) = url
            .trim_start_matches("http://")
            .split_once('/')
            .context("no path")?;
        let path = format!("/{path}");
        agent.until(START, "the agent is ready", || {
            Ok((agent::http(self.node, address, &path)?.0 == 200).then_some(()))
        })?;
        check_capabilities(agent.pid(), &self.container.capabilities()?)
    }

    /// Whether its own pins show this frontend.
    fn serves(&self, frontend: SocketAddr) -> Result<bool> {
        let dir = self.container.flag("bpf-dir").context("no --bpf-dir")?;
        let dir = self
            .node
            .bpf_dir()
            .join(dir.trim_start_matches("/sys/fs/bpf/"));
        let services = agent::services_in(self.node, &dir)?;
        let items = services["items"].as_array().context("no items")?;
        Ok(items.iter().any(|item| {
            item["address"] == frontend.ip().to_string()
                && item["port"] == frontend.port()
                && item["protocol"] == "TCP"
        }))
    }
}

/// What the process really has, as the kernel says.
fn check_capabilities(pid: u32, names: &[String]) -> Result<()> {
    let wanted = CAPABILITIES
        .iter()
        .filter(|(name, _)| names.iter().any(|n| n == name));
    let wanted: u64 = wanted.map(|(_, bit)| bit).sum();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read its status")?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        let bits = u64::from_str_radix(field(set).context("no capabilities")?, 16)?;
        ensure!(bits == wanted, "{set} {bits:x} instead of {wanted:x}");
    }
    ensure!(
        field("NoNewPrivs:") == Some("1"),
        "it could gain privileges"
    );
    Ok(())
}

fn ports() -> serde_json::Value {
    json!([
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "ask", "protocol": "UDP", "port": 80, "targetPort": 8080},
    ])
}

/// A Service with one pod on the node, and a client pod; all named after the namespace.
fn web(cluster: &Cluster, node: &mut Node, namespace: &str) -> Result<(SocketAddr, SocketAddr)> {
    let api = cluster.client();
    api.add_namespace(namespace)?;
    let web = api.add_service(namespace, service("web", "NodePort", &ports()))?;
    cluster.pod(namespace, node, "web-1", "web", 8080)?;
    api.wait_endpoints(namespace, "web", "IPv4", 1)?;
    node.add_pod("client")?;
    let node_port = node.addr().at(Family::V4, node_port(&web)?);
    Ok((SocketAddr::new(cluster_ip(&web)?, 80), node_port))
}

/// A Service that asks for what is not there: `kubectl describe` shows why, which finds Events by
/// the object's uid.
fn tells_by_an_event(cluster: &Cluster) -> Result<()> {
    let mut wrong = service("wrong", "ClusterIP", &ports());
    wrong["metadata"]["annotations"] = json!({"lb-agent.io/scheduler": "fastest"});
    let wrong = cluster.client().add_service("without", wrong)?;
    poll::until_true(CHANGE, "an Event names the annotation", || {
        let events = cluster.client().list::<Event>("without", "")?;
        Ok(events.iter().any(|event| {
            let about = event.regarding.as_ref();
            about.is_some_and(|about| about.uid == wrong.metadata.uid && about.uid.is_some())
                && event
                    .note
                    .as_deref()
                    .is_some_and(|note| note.contains("fastest"))
        }))
    })
}

/// The values for a cluster without kube-proxy.
fn api_server(cluster: &Cluster) -> [String; 2] {
    let (address, port) = cluster.control_plane().address();
    [
        format!("k8sServiceHost={address}"),
        format!("k8sServicePort={port}"),
    ]
}

/// A cluster moves from kube-proxy: the agent comes beside it, then kube-proxy goes, then the node
/// restarts the agent.
#[test]
fn default_values_take_over_from_kube_proxy() -> Result<()> {
    let cluster = Cluster::shared()?;
    let mut node = cluster.node(1)?;
    let (vip, _) = web(&cluster, &mut node, "defaults")?;
    let kube_proxy = KubeProxy::start(cluster.control_plane(), node.sandbox(), node.name())?;
    // Its rules are there when the agent's way to the API server is.
    let api: SocketAddr = format!("{SERVICE_HOST}:443").parse()?;
    poll::until(CHANGE, "kube-proxy serves the API server", || {
        node.connect(Kind::Tcp, api)?.close();
        Ok(Some(()))
    })?;

    let mut installed = Installed::new(&cluster, &node, "defaults", &[])?;
    installed.check_rights()?;
    // kube-proxy holds the health port: what the kernel holds tells that the agent has done its
    // work.
    let mut agent = installed.start_without_waiting()?;
    agent.until(START, "the Service is in the kernel", || {
        Ok(installed.serves(vip)?.then_some(()))
    })?;
    // What a user does next, and what `kube-proxy --cleanup` leaves.
    drop(kube_proxy);
    for family in ["ip", "ip6"] {
        node.run(&["nft", "delete", "table", family, "kube-proxy"])?;
    }
    assert_eq!(node.pod(1).ask(Kind::Tcp, vip)?.name, "web-1");
    installed.wait_ready(&mut agent)?;
    let status = agent.terminate(Duration::from_secs(20))?;
    ensure!(status.success(), "SIGTERM: {status}");
    assert_eq!(
        node.pod(1).ask(Kind::Tcp, vip)?.name,
        "web-1",
        "stopped, it left no working data path"
    );

    // Started again with nothing but what it remembers, it follows changes.
    let mut agent = installed.start()?;
    let connected = node.pod(1).connect(Kind::Udp, vip)?;
    assert_eq!(connected.ask("before")?.name, "web-1");
    cluster.client().set_ready("defaults", "web-1", false)?;
    poll::until_true(CHANGE, "the Service without endpoints refuses", || {
        let refused = node
            .pod(1)
            .ask(Kind::Tcp, vip)
            .err()
            .map(|error| error.kind());
        Ok(refused == Some(std::io::ErrorKind::ConnectionRefused))
    })?;
    // Its rights are enough to tell a pod's connected socket.
    poll::until_true(CHANGE, "the connected socket is reset", || {
        let told = connected.recv_within(Duration::from_millis(100)).err();
        Ok(told.and_then(|error| error.raw_os_error()) == Some(libc::ECONNABORTED))
    })?;
    agent.check()?;
    chart::uninstall(cluster.control_plane(), cluster.sandbox(), "defaults").map(drop)
}

#[test]
fn without_kube_proxy_and_with_xdp() -> Result<()> {
    let cluster = Cluster::shared()?;
    let mut node = cluster.node(2)?;
    let (vip, node_port) = web(&cluster, &mut node, "without")?;
    let file = chart::dir().join("ci/without-kube-proxy-values.yaml");
    let [host, port] = api_server(&cluster);
    let values = ["-f", path_str(&file)?, "--set", &host, "--set", &port];
    let mut installed = Installed::new(&cluster, &node, "without", &values)?;
    installed.check_rights()?;
    let mut agent = installed.start()?;
    ensure!(installed.serves(vip)?, "{vip} is not in the kernel");
    assert_eq!(node.pod(1).ask(Kind::Tcp, vip)?.name, "web-1");
    let links = node.run(&["ip", "-json", "link", "show", "eth0"])?;
    ensure!(links.contains("\"xdp\""), "no XDP program on eth0: {links}");
    tells_by_an_event(&cluster)?;
    let said = installed.helm_test(&values)?;
    ensure!(said.contains(&vip.to_string()), "helm test: {said}");
    let outside = cluster.outside(11)?;
    assert_eq!(outside.ask(Kind::Tcp, node_port)?.name, "web-1");
    agent.check()?;
    chart::uninstall(cluster.control_plane(), cluster.sandbox(), "without").map(drop)
}

#[test]
fn with_every_value_changed() -> Result<()> {
    let cluster = Cluster::shared()?;
    let mut node = cluster.node(3)?;
    let (vip, node_port) = web(&cluster, &mut node, "everything")?;
    let file = chart::dir().join("ci/everything-values.yaml");
    let [host, port] = api_server(&cluster);
    let values = ["-f", path_str(&file)?, "--set", &host, "--set", &port];
    let key = json!({
        "metadata": {"name": "cluster-key"},
        "stringData": {"key": "00112233445566778899aabbccddeeff"},
    });
    let key: Secret = object(key)?;
    cluster.client().create("kube-system", &key)?;
    let mut installed = Installed::new(&cluster, &node, "everything", &values)?;
    installed.check_rights()?;
    let mut agent = installed.start()?;
    ensure!(installed.serves(vip)?, "{vip} is not in the kernel");
    assert_eq!(node.pod(1).ask(Kind::Tcp, vip)?.name, "web-1");
    let outside = cluster.outside(12)?;
    assert_eq!(outside.ask(Kind::Tcp, node_port)?.name, "web-1");
    // Metrics are for the network now.
    let (status, metrics) = agent::http(&node, "127.0.0.1:20249", "/metrics")?;
    ensure!(
        status == 200 && metrics.contains("lb_agent_build_info"),
        "/metrics: {status} {metrics}"
    );
    agent.check()?;
    chart::uninstall(cluster.control_plane(), cluster.sandbox(), "everything").map(drop)
}
