//! How the agent reaches the API server without the Service that only it programs: by the last
//! known endpoints of `default/kubernetes`. Owns what is remembered of them, and nothing about
//! watching.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    kept,
    model::{Event, ObjectKey, Service, Slice},
    settings::values::Source,
};

/// How long one address may take to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// How long a server that was asked may stay silent: longer than a watch lasts.
const SILENCE: Duration = Duration::from_secs(75);

/// What is known of the API server's own Service.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Known {
    /// Of the Service `default/kubernetes`.
    pub cluster_ips: BTreeSet<IpAddr>,
    /// Where its endpoints answer.
    pub endpoints: BTreeSet<SocketAddr>,
}

/// Where [`Known`] is kept.
#[derive(Clone, Debug)]
pub struct StateFile(PathBuf);

impl StateFile {
    /// The file in the agent's state directory.
    #[must_use]
    pub fn in_dir(dir: &Path) -> Self {
        Self(dir.join("api-endpoints.json"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What was kept; nothing on a first start.
    pub fn load(&self) -> Result<Known> {
        match kept::read(&self.0)? {
            Some(text) => kept::parse(&self.0, &text),
            None => Ok(Known::default()),
        }
    }

    /// Forgets it.
    pub fn remove(&self) -> Result<()> {
        kept::remove(&self.0)
    }

    /// Keeps it: a reader sees the old file or the new one.
    pub fn store(&self, known: &Known) -> Result<()> {
        let text = serde_json::to_vec_pretty(known)
            .with_context(|| format!("encode {}", self.0.display()))?;
        kept::replace(&self.0, &text)
    }
}

/// Learns [`Known`] from the same events that the model gets.
#[derive(Debug)]
pub struct Memory {
    known: Known,
    ours: ObjectKey,
    slices: HashMap<ObjectKey, Vec<SocketAddr>>,
}

impl Memory {
    /// Starts from what was kept.
    #[must_use]
    pub fn new(known: Known) -> Self {
        Self {
            known,
            ours: ObjectKey::new("default", "kubernetes"),
            slices: HashMap::new(),
        }
    }

    /// What is known after `event`, if that brought anything new. The last endpoint is never
    /// forgotten, since an empty list is of no use.
    pub fn see(&mut self, event: &Event) -> Option<&Known> {
        let before = self.known.clone();
        match event {
            Event::Service(s) => self.service(s),
            Event::Services(all) => {
                for s in all {
                    self.service(s);
                }
            }
            Event::Slice(s) => self.slice(s),
            Event::SliceGone(key) => {
                self.slices.remove(key);
            }
            Event::Slices(all) => {
                self.slices.clear();
                for s in all {
                    self.slice(s);
                }
            }
            _ => return None,
        }
        let endpoints: BTreeSet<_> = self.slices.values().flatten().copied().collect();
        if !endpoints.is_empty() {
            self.known.endpoints = endpoints;
        }
        (self.known != before).then_some(&self.known)
    }

    fn service(&mut self, service: &Service) {
        if service.key == self.ours {
            self.known.cluster_ips = service.cluster_ips.iter().copied().collect();
        }
    }

    fn slice(&mut self, slice: &Slice) {
        if slice.service != self.ours {
            return;
        }
        let ports = || {
            slice
                .ports
                .iter()
                .filter(|p| matches!(&*p.name, "https" | ""))
        };
        let ready = slice.endpoints.iter().filter(|e| e.ready);
        let addresses = ready.flat_map(|e| ports().map(|p| SocketAddr::new(e.addr, p.port.get())));
        self.slices.insert(slice.key.clone(), addresses.collect());
    }
}

/// An address of the API server that answered.
#[derive(Debug)]
pub struct Dialled {
    /// How to talk to it.
    pub config: kube::Config,
    /// There are other addresses to try when this one fails.
    pub alternatives: bool,
    /// It is one of the server's own, taken instead of the cluster IP.
    pub around_vip: bool,
}

/// How the API server is meant to be reached, before any thought about what that address is.
pub async fn base(source: &Source) -> Result<kube::Config> {
    let mut config = match source {
        Source::Kubeconfig(file) => {
            let name = file.display();
            let kubeconfig = Kubeconfig::read_from(file)
                .with_context(|| format!("read the kubeconfig {name}"))?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("use the kubeconfig {name}"))?
        }
        Source::InCluster => kube::Config::incluster_env()
            .context("use the Pod's service account to reach the API server")?,
        Source::Manifests(dir) => bail!("{} is a folder, no API server", dir.display()),
    };
    // A server that accepts connections and says nothing is as good as none; a watch is silent for
    // a minute at most.
    config.connect_timeout = Some(ANSWER);
    config.write_timeout = Some(ANSWER);
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    Ok(config)
}

/// Is the given address a cluster IP, and a way around it known?
#[must_use]
pub fn prefers_endpoint(base: &kube::Config, known: &Known) -> bool {
    candidates(host_of(base), known).len() > 1
}

fn host_of(config: &kube::Config) -> &str {
    config
        .cluster_url
        .host()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
}

/// Tries the addresses in their order; the first that answers is taken.
pub async fn dial(base: &kube::Config, known: &Known) -> Result<Dialled> {
    let host = host_of(base).to_owned();
    let port =
        base.cluster_url
            .port_u16()
            .unwrap_or(if base.cluster_url.scheme_str() == Some("http") {
                80
            } else {
                443
            });
    let candidates = candidates(&host, known);
    for candidate in &candidates {
        let answers = match candidate {
            Some(endpoint) => answers(*endpoint).await,
            None => answers((host.as_str(), port)).await,
        };
        if answers {
            let mut config = base.clone();
            if let Some(endpoint) = candidate {
                redirect(&mut config, *endpoint, &host)?;
            }
            return Ok(Dialled {
                config,
                alternatives: candidates.len() > 1,
                around_vip: candidate.is_some(),
            });
        }
    }
    if candidates.len() > 1 {
        let all: Vec<String> = known.endpoints.iter().map(ToString::to_string).collect();
        bail!(
            "neither the last known addresses of the API server ({}) nor its cluster IP {host} answer",
            all.join(", ")
        );
    }
    bail!(
        "the API server does not answer at {host}, port {port}. If that is a cluster IP, this agent is what would make it \
         reachable: set KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT (chart values k8sServiceHost and k8sServicePort) \
         to an address of the API server itself"
    )
}

/// The addresses to try; `None` is the one that was given.
fn candidates(host: &str, known: &Known) -> Vec<Option<SocketAddr>> {
    let is_vip = match host.parse::<IpAddr>() {
        Ok(ip) => known.cluster_ips.contains(&ip),
        Err(_) => {
            host == "kubernetes"
                || host == "kubernetes.default"
                || host.starts_with("kubernetes.default.svc")
        }
    };
    if !is_vip {
        return vec![None];
    }
    known
        .endpoints
        .iter()
        .copied()
        .map(Some)
        .chain([None])
        .collect()
}

async fn answers(address: impl tokio::net::ToSocketAddrs) -> bool {
    matches!(
        timeout(ANSWER, TcpStream::connect(address)).await,
        Ok(Ok(_))
    )
}

/// The certificate is still checked against the name that was given.
fn redirect(config: &mut kube::Config, endpoint: SocketAddr, host: &str) -> Result<()> {
    let scheme = config
        .cluster_url
        .scheme_str()
        .unwrap_or("https")
        .to_owned();
    config.cluster_url = format!("{scheme}://{endpoint}")
        .parse()
        .with_context(|| format!("make an URL of {endpoint}"))?;
    config
        .tls_server_name
        .get_or_insert_with(|| host.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests;
