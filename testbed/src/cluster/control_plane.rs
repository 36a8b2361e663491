//! The processes of a control plane, their keys and their data, all in one temporary directory.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::{
    client::Client,
    daemon::Daemon,
    flags::{self, PORT, Pods},
    keys::{self, ADMIN_TOKEN, SCHEDULER_TOKEN},
};
use crate::{cgroup::Cgroup, name, netns::Netns, sandbox::Sandbox};

/// Six seconds on an idle machine.
const START: Duration = Duration::from_mins(2);
const GRACE: Duration = Duration::from_secs(3);

/// etcd, kube-apiserver, kube-controller-manager, and a scheduler where pods run; gone with this
/// value.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: the clients of a server before it.
    manager: Daemon,
    scheduler: Option<Daemon>,
    api: Option<Daemon>,
    client: Client,
    _etcd: Daemon,
    pods: Pods,
    address: IpAddr,
    sandbox: Sandbox,
    cgroup: Cgroup,
    dir: TempDir,
}

impl ControlPlane {
    /// Starts it on an address that the namespace has, for pods that a test writes; ready when this
    /// returns.
    pub fn start(netns: &Netns, address: IpAddr) -> Result<Self> {
        Self::start_for(netns, address, Pods::Written)
    }

    /// The same for pods of either kind.
    pub fn start_for(netns: &Netns, address: IpAddr, pods: Pods) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(&name::unique("control-plane"))
            .tempdir();
        let dir = dir.context("make a temporary directory")?;
        let cgroup = Cgroup::new("control-plane")?;
        let at = dir.path();
        keys::write(at)?;
        let sandbox = Sandbox {
            netns: Some(netns.path()),
            cgroup: Some(cgroup.path().to_owned()),
            ..Sandbox::default()
        };
        let etcd = Daemon::start("etcd", &flags::etcd(at)?, &sandbox, at)?;
        let mut api = start_api(pods, &sandbox, at, address)?;
        let certificate = at.join("certs/apiserver.crt");
        api.until(START, "the API server's certificate is there", || {
            // Its own and its issuer's, written one after the other.
            let text = fs::read_to_string(&certificate).unwrap_or_default();
            Ok((text.matches("-----END CERTIFICATE-----\n").count() == 2).then_some(()))
        })?;
        let admin = keys::kubeconfig(at, "admin", ADMIN_TOKEN, address)?;
        let client = Client::new(netns, &admin)?;
        wait_ready(&mut api, &client)?;
        let manager = Daemon::start(
            "kube-controller-manager",
            &flags::manager(pods, at, &admin)?,
            &sandbox,
            at,
        )?;
        let scheduler = match pods {
            Pods::Written => None,
            Pods::Run => {
                let config = keys::kubeconfig(at, "scheduler", SCHEDULER_TOKEN, address)?;
                let words = flags::scheduler(&config)?;
                Some(Daemon::start("kube-scheduler", &words, &sandbox, at)?)
            }
        };
        Ok(Self {
            manager,
            scheduler,
            api: Some(api),
            client,
            _etcd: etcd,
            pods,
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
        keys::kubeconfig(self.dir.path(), user, token, self.address)
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
        let mut api = start_api(self.pods, &self.sandbox, self.dir.path(), self.address)?;
        wait_ready(&mut api, &self.client)?;
        self.api = Some(api);
        self.check()
    }

    /// An error with the end of its log if one of its processes runs no more.
    pub fn check(&mut self) -> Result<()> {
        if let Some(api) = &mut self.api {
            api.check()?;
        }
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.check()?;
        }
        self.manager.check()
    }
}

fn start_api(pods: Pods, sandbox: &Sandbox, dir: &Path, address: IpAddr) -> Result<Daemon> {
    let words = flags::api(pods, dir, address)?;
    Daemon::start("kube-apiserver", &words, sandbox, dir)
}

fn wait_ready(api: &mut Daemon, client: &Client) -> Result<()> {
    api.until(START, "the API server is ready", || {
        Ok(client.ready()?.then_some(()))
    })
}
