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
        let kubeconfig = control_plane.kubeconfig("kube-proxy", KUBE_PROXY_TOKEN)?;
        let mut words = daemon::words(
            tools::find("kube-proxy")?,
            &[
                "--proxy-mode",
                mode,
                // Not the limits of the machine, which all namespaces share.
                "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=0",
                "--healthz-bind-address=127.0.0.1:10256",
                "--metrics-bind-address=127.0.0.1:10249",
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
            let said = process::output(place, &["curl", "-sf", "http://127.0.0.1:10256/healthz"])?;
            Ok(said.status.success().then_some(()))
        })?;
        Ok(Self { process })
    }

    /// An error with the end of its log if it runs no more.
    pub fn check(&mut self) -> Result<()> {
        self.process.check()
    }
}
