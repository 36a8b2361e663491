//! Two nodes with kube-proxy, rules of others and a Service in front of them.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Service;
use testbed::{
    agent,
    cluster::{
        Cluster, KubeProxy,
        objects::{cluster_ip, node_port, service},
        tool,
    },
    lan,
    node::Node,
    probe::{Family, Kind},
    process::Output,
};

use crate::cluster::common::ports;

/// How the rules get into the kernel.
pub(super) struct Mode {
    /// Of kube-proxy.
    pub(super) name: &'static str,
    /// Of iptables: with it, kube-proxy and we find this one by its plain name.
    pub(super) legacy: bool,
    /// Of the node; the twin's is one more, and so are the machines' outside.
    pub(super) node: u8,
}

/// Two nodes with the same rules of others, one backend on ours and one elsewhere.
pub(super) struct Stage<'c> {
    cluster: &'c Cluster,
    mode: &'c Mode,
    pub(super) node: Node,
    pub(super) twin: Node,
    pub(super) outside: lan::Client,
    /// Its namespace and cgroup must stay.
    _far: Node,
    web: Service,
    namespace: String,
}

impl<'c> Stage<'c> {
    pub(super) fn new(cluster: &'c Cluster, mode: &'c Mode) -> Result<Self> {
        let api = cluster.client();
        let namespace = format!("takeover-{}", mode.node);
        api.add_namespace(&namespace)?;
        let mut node = cluster.node(mode.node)?;
        let twin = cluster.node(mode.node + 1)?;
        let mut far = cluster.node(mode.node + 2)?;
        node.join(&far)?;
        twin.join(&far)?;
        node.add_pod("client")?;
        let web = api.add_service(&namespace, service("web", "NodePort", &ports()))?;
        cluster.pod(&namespace, &mut node, "near", "web", 8080)?;
        cluster.pod(&namespace, &mut far, "far", "web", 8080)?;
        api.wait_endpoints(&namespace, "web", "IPv4", 2)?;
        node.netns().sysctls(&[
            // Closed connections are forgotten at once.
            ("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "1"),
            ("net/netfilter/nf_conntrack_tcp_timeout_close", "1"),
            ("net/netfilter/nf_conntrack_tcp_timeout_last_ack", "1"),
        ])?;
        let stage = Self {
            cluster,
            mode,
            node,
            twin,
            outside: cluster.outside(mode.node + 40)?,
            _far: far,
            web,
            namespace,
        };
        for node in [&stage.node, &stage.twin] {
            stage.rules_of_others(node)?;
        }
        Ok(stage)
    }

    /// Its VIP, and its node port on the node.
    pub(super) fn frontends(&self) -> Result<(SocketAddr, SocketAddr)> {
        let vip = SocketAddr::new(cluster_ip(&self.web)?, 80);
        Ok((vip, self.node.addr().at(Family::V4, node_port(&self.web)?)))
    }

    /// What a CNI and a user have: masquerading, an open FORWARD chain, a port of a host mapped to
    /// a pod, a table of nftables.
    fn rules_of_others(&self, node: &Node) -> Result<()> {
        let near = self.node.pod(1).addr();
        let filter = "*filter\n:CNI-FORWARD - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n-A FORWARD -m comment --comment \"jumps to KUBE-SERVICES in words\" -j CNI-FORWARD\n-A CNI-FORWARD -j ACCEPT\n-A INPUT -p tcp --dport 9 -j REJECT\n-A OUTPUT -p tcp --dport 9 -j REJECT\nCOMMIT\n*mangle\n:KUBE-IPTABLES-HINT - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n-A PREROUTING -p tcp --dport 9 -j ACCEPT\nCOMMIT\n";
        for (program, pods, to) in [
            (
                "iptables-restore",
                "10.0.0.0/8",
                format!("{}:8080", near.v4),
            ),
            (
                "ip6tables-restore",
                "fd66::/16",
                format!("[{}]:8080", near.v6),
            ),
        ] {
            let nat = format!(
                "*nat\n:CNI-HOSTPORT - [0:0]\n-A PREROUTING -j CNI-HOSTPORT\n-A OUTPUT -p tcp --dport 9 -j ACCEPT\n-A CNI-HOSTPORT -p udp --dport 5300 -j DNAT --to-destination {to}\n-A POSTROUTING -s {pods} -d 192.0.2.0/24 -j MASQUERADE\nCOMMIT\n"
            );
            let nat = if program.starts_with("ip6") {
                nat.replace(" -d 192.0.2.0/24", " -d 2001:db8::/32")
            } else {
                nat
            };
            let file = node.files().join(program);
            std::fs::write(&file, format!("{filter}{nat}"))?;
            let file = file.display().to_string();
            self.run(node, &[program, "--noflush", &file])?;
        }
        node.run(&[
            "nft",
            "add table inet user; add chain inet user input { type filter hook input priority 10; }; add rule inet user input tcp dport 7 drop",
        ])
        .map(drop)
    }

    /// Every rule, by whichever backend, without what it counted.
    pub(super) fn rules(&self, node: &Node) -> Result<String> {
        let mut all = String::new();
        for program in ["iptables-save", "ip6tables-save"] {
            all += &self.run(node, &[program])?;
        }
        let mut tables = Vec::new();
        for line in node.run(&["nft", "list", "tables"])?.lines() {
            // Those of iptables were listed by its own tool.
            if !line.starts_with("table ip ") && !line.starts_with("table ip6 ")
                || line.ends_with(" kube-proxy")
            {
                tables.push(line.to_owned());
            }
        }
        tables.sort();
        for table in tables {
            let words: Vec<&str> = ["nft", "-s", "list"]
                .into_iter()
                .chain(table.split(' '))
                .collect();
            all += &node.run(&words)?;
        }
        // A chain of the legacy backend shows what it counted, and a comment shows the time.
        let mut lines: Vec<String> = all
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| match (line.strip_prefix(':'), line.rfind(" [")) {
                (Some(_), Some(end)) => line[..end].to_owned(),
                _ => line.to_owned(),
            })
            .collect();
        // kube-proxy leaves the chains that kubelet has too, whichever of the two made them.
        lines.retain(|line| !line.contains("KUBE-FIREWALL"));
        Ok(lines.join("\n") + "\n")
    }

    pub(super) fn kube_proxy(&self, node: &Node) -> Result<KubeProxy> {
        let (path, name) = (self.path()?, self.mode.name);
        // Its own ports are the agent's here.
        KubeProxy::start_with(
            self.cluster.control_plane(),
            node.sandbox(),
            node.name(),
            name,
            &path,
            [20256, 20249],
        )
    }

    pub(super) fn cleanup_by_itself(&self, node: &Node) -> Result<()> {
        let program = tool("kube-proxy")?.display().to_string();
        self.run(node, &[&program, "--cleanup"]).map(drop)
    }

    /// With no more rights than it needs.
    pub(super) fn cleanup(&self, more: &[&str]) -> Result<Output> {
        // The legacy tools open raw sockets.
        let few = if self.mode.legacy {
            "--bounding-set=-all,+net_admin,+net_raw"
        } else {
            "--bounding-set=-all,+net_admin"
        };
        self.cleanup_under(&["setpriv", few, "--no-new-privs", "--"], more)
    }

    pub(super) fn cleanup_under(&self, few: &[&str], more: &[&str]) -> Result<Output> {
        let binary = agent::binary()?.display().to_string();
        let dir = self.node.bpf_dir().display().to_string();
        let line = [
            few,
            &[&binary, "cleanup", "--kube-proxy", "--bpf-dir", &dir],
            more,
        ]
        .concat();
        self.node.output(&self.words(&line)?)
    }

    /// With iptables of the mode's backend.
    fn run(&self, node: &Node, words: &[&str]) -> Result<String> {
        node.run(&self.words(words)?)
    }

    fn words(&self, words: &[&str]) -> Result<Vec<String>> {
        let mut all = vec!["env".to_owned(), format!("PATH={}", self.path()?)];
        all.extend(words.iter().map(|&word| word.to_owned()));
        Ok(all)
    }

    /// The programs' folders, behind one where `iptables` means the legacy backend if the mode is
    /// that.
    fn path(&self) -> Result<String> {
        let path = std::env::var("PATH").unwrap_or_default();
        if !self.mode.legacy {
            return Ok(path);
        }
        let dir = self.twin.files().join("legacy");
        std::fs::create_dir_all(&dir)?;
        for six in ["", "6"] {
            for verb in ["", "-save", "-restore"] {
                let link = dir.join(format!("ip{six}tables{verb}"));
                let program = format!("/usr/sbin/ip{six}tables-legacy{verb}");
                if !link.exists() {
                    std::os::unix::fs::symlink(program, link)?;
                }
            }
        }
        Ok(format!("{}:{path}", dir.display()))
    }

    /// Through the mapped port, as a CNI's portmap would do it.
    pub(super) fn ask_mapped(&self) -> Result<String> {
        let answer = self
            .outside
            .ask(Kind::Udp, self.node.addr().at(Family::V4, 5300));
        Ok(answer
            .with_context(|| format!("through the mapped port, {}", self.namespace))?
            .name)
    }
}
