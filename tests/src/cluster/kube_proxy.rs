//! Owns the real kube-proxy in the network namespace of a node: the referee, and the peer of measurements.
//! Knows nothing of what it is compared with.

use std::time::Duration;

use anyhow::Result;

use super::control_plane::KUBE_PROXY_TOKEN;
use super::daemon::{self, Daemon};
use super::{ControlPlane, tools};
use crate::place::Place;
use crate::process;

const START: Duration = Duration::from_mins(1);
const STOP: Duration = Duration::from_secs(20);

/// Its rules stay in the namespace when it goes, as they do on a node.
#[derive(Debug)]
pub struct KubeProxy {
    process: Daemon,
}

impl KubeProxy {
    /// Starts it in nftables mode for the Node of this name; its first rules are written when this returns.
    pub fn start(control_plane: &ControlPlane, place: &Place, node: &str) -> Result<Self> {
        Self::start_in(control_plane, place, node, "nftables")
    }

    /// The same in this mode.
    pub fn start_in(
        control_plane: &ControlPlane,
        place: &Place,
        node: &str,
        mode: &str,
    ) -> Result<Self> {
        let path = std::env::var("PATH").unwrap_or_default();
        Self::start_with(control_plane, place, node, mode, &path, [10256, 10249])
    }

    /// The same with other programs in its PATH, and with health and metrics on these ports of loopback.
    pub fn start_with(
        control_plane: &ControlPlane,
        place: &Place,
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
        let mut process = Daemon::start(
            &format!("kube-proxy-{node}"),
            &words,
            place,
            control_plane.dir(),
        )?;
        process.until(START, "kube-proxy has written its rules", || {
            let url = format!("http://127.0.0.1:{health}/healthz");
            let said = process::output(place, &["curl", "-sf", &url])?;
            Ok(said.status.success().then_some(()))
        })?;
        Ok(Self { process })
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
