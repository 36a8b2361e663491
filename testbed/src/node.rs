//! A node: a namespace on the segment, a cgroup with children for pods and host processes, a pin
//! directory, a folder of manifests.

use std::{
    fmt, fs,
    ops::Deref,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{
    addr::{self, Both},
    cgroup::Cgroup,
    host::Host,
    lan::{Lan, Port},
    name,
    netns::Netns,
    pins::PinDir,
    pod::Pod,
};

/// Nodes are numbered from here on the segment.
const NODES: u8 = 10;
/// Pods are numbered from here on within their node's network; 1 is the node's own.
const FIRST_POD: u8 = 2;

/// How a node's pods are joined to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodNetwork {
    /// A route to each pod's device, as Calico does it; other nodes' pods over the segment.
    Routed,
    /// A bridge `cni0`, as flannel does it; other nodes' pods through the vxlan device `flannel.1`,
    /// behind flannel's masquerade rules. See [`crate::flannel`].
    Flannel,
}

impl PodNetwork {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Routed, Self::Flannel];
}

impl fmt::Display for PodNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routed => "routed pods",
            Self::Flannel => "flannel",
        })
    }
}

/// Goes with this value, with everything that runs on it.
#[derive(Debug)]
pub struct Node {
    /// Processes of the host.
    host: Host,
    name: String,
    /// 1, 2, …
    number: u8,
    addr: Both,
    network: PodNetwork,
    offloads: crate::lan::Offloads,
    port: Port,
    pods: Vec<Pod>,
    files: TempDir,
    pins: PinDir,
    /// Last: its removal takes the children along.
    cgroup: Cgroup,
}

impl Deref for Node {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Node {
    /// Node `number` (1, 2, …) on the segment, called `node-1`, `node-2`, …: forwarding, with
    /// rp_filter strict and `accept_local` off as many distributions have it.
    pub fn new(lan: &Lan, number: u8, network: PodNetwork) -> Result<Self> {
        let netns = Netns::new("node")?;
        netns.sysctls(&[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/conf/all/rp_filter", "1"),
            ("net/ipv4/conf/default/rp_filter", "1"),
            ("net/ipv4/conf/all/accept_local", "0"),
            ("net/ipv4/conf/default/accept_local", "0"),
            ("net/ipv4/conf/all/route_localnet", "0"),
            ("net/ipv4/ping_group_range", "0 2147483647"),
            ("net/ipv4/ip_local_port_range", "32768 60999"),
        ])?;
        let addr = lan.plug(&netns, NODES + number)?;
        if network == PodNetwork::Flannel {
            crate::flannel::bridge(&netns, number)?;
        }
        let cgroup = Cgroup::new("node")?;
        let files = tempfile::Builder::new()
            .prefix(&name::unique("files"))
            .tempdir()
            .context("make a folder")?;
        fs::create_dir(files.path().join("manifests")).context("make the manifests' folder")?;
        Ok(Self {
            host: Host::new(netns, cgroup.child("host")?)?,
            name: format!("node-{number}"),
            number,
            addr,
            network,
            offloads: lan.offloads(),
            port: lan.port(NODES + number),
            pods: Vec::new(),
            files,
            pins: PinDir::new("pins")?,
            cgroup,
        })
    }

    /// Adds a pod.
    pub fn add_pod(&mut self, name: &str) -> Result<&mut Pod> {
        let index = u8::try_from(self.pods.len()).context("more pods than addresses")?;
        let number = FIRST_POD + index;
        let addr @ Both { v4, v6 } = addr::pod(self.number, number);
        let device = format!("pod{number}");
        let netns = Netns::new(name)?;
        netns.sysctls(&[
            ("net/ipv4/ping_group_range", "0 2147483647"),
            // Client and server, both without a cookie.
            ("net/ipv4/tcp_fastopen", "1543"),
        ])?;
        let host_netns = self.host.netns();
        netns.ip(&format!(
            "link add eth0 type veth peer name {device} netns {}\nlink set eth0 up\n",
            host_netns.name()
        ))?;
        match self.network {
            PodNetwork::Routed => {
                let [gateway4, gateway6] = ["169.254.1.1", "fe80::1"];
                host_netns.ip(&format!(
                    "link set {device} up\n\
                     addr add {gateway4}/32 dev {device} scope link\n\
                     addr add {gateway6}/64 dev {device} nodad\n\
                     route add {v4}/32 dev {device}\n\
                     route add {v6}/128 dev {device}\n"
                ))?;
                netns.ip(&format!(
                    "addr add {v4}/32 dev eth0\n\
                     addr add {v6}/128 dev eth0 nodad\n\
                     route add {gateway4}/32 dev eth0 scope link\n\
                     route add default via {gateway4}\n\
                     route add default via {gateway6} dev eth0\n"
                ))?;
            }
            PodNetwork::Flannel => {
                let gateway = addr::pod(self.number, 1);
                host_netns.ip(&format!(
                    "link set {device} master cni0\nlink set {device} up\n"
                ))?;
                netns.ip(&format!(
                    "addr add {v4}/24 dev eth0\n\
                     addr add {v6}/64 dev eth0 nodad\n\
                     route add default via {}\n\
                     route add default via {}\n",
                    gateway.v4, gateway.v6
                ))?;
            }
        }
        self.offloads
            .apply((&netns, "eth0"), (host_netns, &device), true)?;
        let host = Host::new(netns, self.cgroup.child(name)?)?;
        self.pods.push(Pod {
            host,
            name: name.to_owned(),
            addr,
            device,
        });
        self.pods.last_mut().context("a pod was just added")
    }

    /// Makes each node's pods reachable from the other one, in both directions.
    pub fn join(&self, other: &Self) -> Result<()> {
        for (from, to) in [(self, other), (other, self)] {
            match to.network {
                PodNetwork::Routed => {
                    let net = addr::pod(to.number, 0);
                    from.netns().ip(&format!(
                        "route add {}/24 via {}\nroute add {}/64 via {}\n",
                        net.v4, to.addr.v4, net.v6, to.addr.v6
                    ))?;
                }
                PodNetwork::Flannel => {
                    crate::flannel::route(from.netns(), to.netns(), to.number, to.addr)?;
                }
            }
        }
        Ok(())
    }

    /// As Kubernetes calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its addresses on the segment.
    #[must_use]
    pub const fn addr(&self) -> Both {
        self.addr
    }

    /// What its `eth0` is plugged into.
    #[must_use]
    pub const fn port(&self) -> &Port {
        &self.port
    }

    /// 1, 2, …
    #[must_use]
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// The pod that was added as number `index`, from 0 on.
    #[must_use]
    pub fn pod(&self, index: usize) -> &Pod {
        &self.pods[index]
    }

    /// All its pods.
    #[must_use]
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// All its pods, to change them.
    pub fn pods_mut(&mut self) -> &mut [Pod] {
        &mut self.pods
    }

    /// The cgroup above its pods and host processes: what the agent attaches to.
    #[must_use]
    pub const fn root_cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// For `--bpf-dir`.
    #[must_use]
    pub fn bpf_dir(&self) -> &Path {
        self.pins.path()
    }

    /// Where the agent pins the map of this name.
    #[must_use]
    pub fn map_pin(&self, map: &str) -> String {
        let pin = self.bpf_dir().join("maps").join(map);
        pin.display().to_string()
    }

    /// For `--manifests`.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.files.path().join("manifests")
    }

    /// A folder for logs and the like.
    #[must_use]
    pub fn files(&self) -> &Path {
        self.files.path()
    }

    /// Writes a manifest as an editor would that is careful: whole, by a rename.
    pub fn write_manifest(&self, file: &str, yaml: &str) -> Result<()> {
        let draft = self.files.path().join(format!(".{file}.draft"));
        let path = self.manifests().join(file);
        fs::write(&draft, yaml).with_context(|| format!("write {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("write {}", path.display()))
    }

    /// Removes a manifest.
    pub fn remove_manifest(&self, file: &str) -> Result<()> {
        let path = self.manifests().join(file);
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
    }
}
