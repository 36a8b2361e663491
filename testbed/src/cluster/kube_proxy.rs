//! The real kube-proxy in the network namespace of a node: the referee, and the peer of
//! measurements.

use std::{ffi::OsString, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    ControlPlane,
    daemon::{self, Daemon},
    keys::KUBE_PROXY_TOKEN,
    tools,
};
use crate::{process, sandbox::Sandbox};

const START: Duration = Duration::from_mins(1);
const STOP: Duration = Duration::from_secs(20);
/// Health and metrics, on loopback.
const PORTS: [u16; 2] = [10256, 10249];

/// Its rules stay in the namespace when it goes, as they do on a node.
#[derive(Debug)]
pub struct KubeProxy {
    process: Daemon,
    health: u16,
    sandbox: Sandbox,
}

impl KubeProxy {
    /// Starts it in nftables mode for the Node of this name; its first rules are written when this
    /// returns.
    pub fn start(control_plane: &ControlPlane, sandbox: &Sandbox, node: &str) -> Result<Self> {
        Self::start_in(control_plane, sandbox, node, "nftables")
    }

    /// The same in this mode.
    pub fn start_in(
        control_plane: &ControlPlane,
        sandbox: &Sandbox,
        node: &str,
        mode: &str,
    ) -> Result<Self> {
        Self::start_within(control_plane, sandbox, node, mode, START)
    }

    /// The same with another patience.
    pub fn start_within(
        control_plane: &ControlPlane,
        sandbox: &Sandbox,
        node: &str,
        mode: &str,
        patience: Duration,
    ) -> Result<Self> {
        Self::without_waiting(control_plane, sandbox, node, mode)?.ready_within(patience)
    }

    /// The same with other programs in its PATH, and with health and metrics on these ports of
    /// loopback.
    pub fn start_with(
        control_plane: &ControlPlane,
        sandbox: &Sandbox,
        node: &str,
        mode: &str,
        path: &str,
        ports: [u16; 2],
    ) -> Result<Self> {
        Self::spawn(control_plane, sandbox, node, mode, path, ports)?.ready_within(START)
    }

    /// [`Self::start_in`] that waits for nothing: it has just been started.
    pub fn without_waiting(
        control_plane: &ControlPlane,
        sandbox: &Sandbox,
        node: &str,
        mode: &str,
    ) -> Result<Self> {
        let path = std::env::var("PATH").unwrap_or_default();
        Self::spawn(control_plane, sandbox, node, mode, &path, PORTS)
    }

    fn spawn(
        control_plane: &ControlPlane,
        sandbox: &Sandbox,
        node: &str,
        mode: &str,
        path: &str,
        [health, metrics]: [u16; 2],
    ) -> Result<Self> {
        let kubeconfig = control_plane.kubeconfig("kube-proxy", KUBE_PROXY_TOKEN)?;
        let program = tools::find("kube-proxy")?.display().to_string();
        let mut words = daemon::words(
            "env",
            &[
                &format!("PATH={path}"),
                program.as_str(),
                "--proxy-mode",
                mode,
                // Not the limits of the machine, which all namespaces share.
                "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=0",
                &format!("--healthz-bind-address=127.0.0.1:{health}"),
                &format!("--metrics-bind-address=127.0.0.1:{metrics}"),
                "--hostname-override",
                node,
                "--kubeconfig",
            ],
        );
        words.push(kubeconfig.into());
        Self::run(control_plane, sandbox, node, &words, health)
    }

    /// Starts it with a configuration file of these fields, as `kubeadm` does.
    pub fn start_configured(
        control_plane: &ControlPlane,
        sandbox: &Sandbox,
        node: &str,
        mut fields: Value,
    ) -> Result<Self> {
        let kubeconfig = control_plane.kubeconfig("kube-proxy", KUBE_PROXY_TOKEN)?;
        fields["apiVersion"] = json!("kubeproxy.config.k8s.io/v1alpha1");
        fields["kind"] = json!("KubeProxyConfiguration");
        fields["hostnameOverride"] = json!(node);
        fields["clientConnection"] = json!({"kubeconfig": kubeconfig});
        fields["healthzBindAddress"] = json!("127.0.0.1:10256");
        fields["metricsBindAddress"] = json!("127.0.0.1:10249");
        // Not the limits of the machine, which all namespaces share.
        fields["conntrack"] = json!({"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"});
        let file = control_plane.dir().join(format!("kube-proxy-{node}.json"));
        std::fs::write(&file, fields.to_string())
            .with_context(|| format!("write {}", file.display()))?;
        let mut words = daemon::words(tools::find("kube-proxy")?, &["--config"]);
        words.push(file.into());
        Self::run(control_plane, sandbox, node, &words, PORTS[0])?.ready_within(START)
    }

    fn run(
        control_plane: &ControlPlane,
        sandbox: &Sandbox,
        node: &str,
        words: &[OsString],
        health: u16,
    ) -> Result<Self> {
        let process = Daemon::start(
            &format!("kube-proxy-{node}"),
            words,
            sandbox,
            control_plane.dir(),
        )?;
        Ok(Self {
            process,
            health,
            sandbox: sandbox.clone(),
        })
    }

    fn ready_within(mut self, patience: Duration) -> Result<Self> {
        let url = format!("http://127.0.0.1:{}/healthz", self.health);
        let Self {
            process, sandbox, ..
        } = &mut self;
        process.until(patience, "kube-proxy has written its rules", || {
            let said = process::output(sandbox, &["curl", "-sf", &url])?;
            Ok(said.status.success().then_some(()))
        })?;
        Ok(self)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// `kill -9`, and gone when this returns; its rules stay.
    pub fn kill(self) -> Result<()> {
        self.process.kill()
    }

    /// SIGTERM, and its end; its rules stay.
    pub fn stop(self) -> Result<()> {
        self.process.terminate(STOP).map(drop)
    }

    /// An error with the end of its log if it runs no more.
    pub fn check(&mut self) -> Result<()> {
        self.process.check()
    }
}
