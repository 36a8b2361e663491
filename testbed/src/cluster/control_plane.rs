//! The three processes of a control plane, their keys and their data, all in one temporary
//! directory.

use std::{
    ffi::OsString,
    fs,
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::{
    client::Client,
    daemon::{self, Daemon},
    tools,
};
use crate::{cgroup::Cgroup, name, netns::Netns, sandbox::Sandbox};

/// The token of a cluster administrator.
pub const ADMIN_TOKEN: &str = "admin-token";
/// The token of `system:kube-proxy`, with the rights that the API server gives it by itself.
pub(super) const KUBE_PROXY_TOKEN: &str = "kube-proxy-token";
/// The ClusterIP of the API server: the first of the service range.
pub const SERVICE_HOST: &str = "10.96.0.1";

const SERVICE_RANGES: &str = "10.96.0.0/16,fd66:96::/112";
/// Not the Service's 443, so that a mix-up of the two shows.
const PORT: u16 = 6443;
const ETCD: &str = "http://127.0.0.1:23790";
const ETCD_PEERS: &str = "http://127.0.0.1:23791";
/// Six seconds on an idle machine.
const START: Duration = Duration::from_mins(2);
const GRACE: Duration = Duration::from_secs(3);

/// etcd, kube-apiserver, and kube-controller-manager with the EndpointSlice controllers; gone with
/// this value.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: the clients of a server before it.
    manager: Daemon,
    api: Option<Daemon>,
    client: Client,
    _etcd: Daemon,
    address: IpAddr,
    sandbox: Sandbox,
    cgroup: Cgroup,
    dir: TempDir,
}

impl ControlPlane {
    /// Starts it on an address that the namespace has; ready when this returns.
    pub fn start(netns: &Netns, address: IpAddr) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(&name::unique("control-plane"))
            .tempdir();
        let dir = dir.context("make a temporary directory")?;
        let cgroup = Cgroup::new("control-plane")?;
        let at = dir.path();
        write_keys(at)?;
        let sandbox = Sandbox {
            netns: Some(netns.path()),
            cgroup: Some(cgroup.path().to_owned()),
            ..Sandbox::default()
        };
        let etcd = Daemon::start("etcd", &etcd_words(at)?, &sandbox, at)?;
        let mut api = start_api(&sandbox, at, address)?;
        let certificate = at.join("certs/apiserver.crt");
        api.until(START, "the API server's certificate is there", || {
            // Its own and its issuer's, written one after the other.
            let text = fs::read_to_string(&certificate).unwrap_or_default();
            Ok((text.matches("-----END CERTIFICATE-----\n").count() == 2).then_some(()))
        })?;
        let admin = write_kubeconfig(at, "admin", ADMIN_TOKEN, address)?;
        let client = Client::new(netns, &admin)?;
        wait_ready(&mut api, &client)?;
        let manager = Daemon::start(
            "kube-controller-manager",
            &manager_words(&admin)?,
            &sandbox,
            at,
        )?;
        Ok(Self {
            manager,
            api: Some(api),
            client,
            _etcd: etcd,
            address,
            sandbox,
            cgroup,
            dir,
        })
    }

    /// The administrator's client, inside the namespace.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// CPU time of all its processes.
    pub fn cpu_seconds(&self) -> Result<f64> {
        self.cgroup.cpu_seconds()
    }

    /// Where the API server listens.
    #[must_use]
    pub fn address(&self) -> (IpAddr, u16) {
        (self.address, PORT)
    }

    /// The certificates that its clients trust.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("certs/apiserver.crt")
    }

    /// A kubeconfig for this token, by the server's own address.
    pub fn kubeconfig(&self, user: &str, token: &str) -> Result<PathBuf> {
        write_kubeconfig(self.dir.path(), user, token, self.address)
    }

    /// Where its files are, logs too; others may put theirs beside them.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Stops the API server alone, as a kubelet does: it stops listening at once, and is killed if
    /// open watches keep it.
    pub fn stop_api(&mut self) -> Result<()> {
        let Some(api) = self.api.take() else {
            bail!("the API server is stopped already")
        };
        api.terminate_or_kill(GRACE)
    }

    /// Starts it again, on the same data; ready when this returns.
    pub fn start_api(&mut self) -> Result<()> {
        if self.api.is_some() {
            bail!("the API server runs already");
        }
        let mut api = start_api(&self.sandbox, self.dir.path(), self.address)?;
        wait_ready(&mut api, &self.client)?;
        self.api = Some(api);
        self.manager.check()
    }
}

fn etcd_words(dir: &Path) -> Result<Vec<OsString>> {
    let mut words = daemon::words(
        tools::find("etcd")?,
        &[
            // Its data is gone with the test anyway.
            "--unsafe-no-fsync".to_owned(),
            "--name=one".to_owned(),
            "--log-level=warn".to_owned(),
            format!("--listen-client-urls={ETCD}"),
            format!("--advertise-client-urls={ETCD}"),
            format!("--listen-peer-urls={ETCD_PEERS}"),
            format!("--initial-advertise-peer-urls={ETCD_PEERS}"),
            format!("--initial-cluster=one={ETCD_PEERS}"),
            "--data-dir".to_owned(),
        ],
    );
    words.push(dir.join("etcd").into());
    Ok(words)
}

fn manager_words(kubeconfig: &Path) -> Result<Vec<OsString>> {
    let mut words = daemon::words(
        tools::find("kube-controller-manager")?,
        &[
            "--controllers=endpointslice-controller,endpointslice-mirroring-controller,namespace-controller",
            "--leader-elect=false",
            "--secure-port=0",
            // The default of 20 a second would be what a test of many changes measures.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--kubeconfig",
        ],
    );
    words.push(kubeconfig.into());
    Ok(words)
}

fn start_api(sandbox: &Sandbox, dir: &Path, address: IpAddr) -> Result<Daemon> {
    let mut words = daemon::words(
        tools::find("kube-apiserver")?,
        &[
            format!("--etcd-servers={ETCD}"),
            format!("--secure-port={PORT}"),
            format!("--bind-address={address}"),
            format!("--advertise-address={address}"),
            format!("--service-cluster-ip-range={SERVICE_RANGES}"),
            "--authorization-mode=RBAC".to_owned(),
            // A pod needs no ServiceAccount then, and no controller that makes one.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        ],
    );
    for (flag, file) in [
        ("--cert-dir", "certs"),
        ("--token-auth-file", "tokens.csv"),
        ("--service-account-key-file", "service-account.key"),
        ("--service-account-signing-key-file", "service-account.key"),
    ] {
        words.extend([flag.into(), dir.join(file).into()]);
    }
    Daemon::start("kube-apiserver", &words, sandbox, dir)
}

fn wait_ready(api: &mut Daemon, client: &Client) -> Result<()> {
    api.until(START, "the API server is ready", || {
        Ok(client.ready()?.then_some(()))
    })
}

fn write_keys(dir: &Path) -> Result<()> {
    let key = dir.join("service-account.key");
    let made = Command::new("openssl")
        .args([
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
        ])
        .arg(&key)
        .output()
        .context("start openssl (package openssl)")?;
    if !made.status.success() {
        bail!(
            "make {}: {}",
            key.display(),
            String::from_utf8_lossy(&made.stderr)
        );
    }
    let tokens = format!(
        "{ADMIN_TOKEN},admin,1,\"system:masters\"\n{KUBE_PROXY_TOKEN},system:kube-proxy,2,\"system:node-proxier\"\n"
    );
    fs::write(dir.join("tokens.csv"), tokens).context("write the tokens")
}

fn write_kubeconfig(dir: &Path, user: &str, token: &str, address: IpAddr) -> Result<PathBuf> {
    let server = std::net::SocketAddr::new(address, PORT);
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority": dir.join("certs/apiserver.crt"),
        }}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": user}}],
        "current-context": "c",
    });
    let path = dir.join(format!("{user}.kubeconfig"));
    // Whole, by a rename: another test may be reading it.
    let mut draft = tempfile::NamedTempFile::new_in(dir).context("make a file")?;
    draft
        .write_all(config.to_string().as_bytes())
        .and_then(|()| draft.persist(&path).map_err(|error| error.error))
        .with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
