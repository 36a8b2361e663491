//! A real CoreDNS that answers for the Services of a control plane, in a pod.

use std::{fs, net::IpAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    ControlPlane,
    daemon::{self, Daemon},
    keys::ADMIN_TOKEN,
    tools,
};
use crate::{process, sandbox::Sandbox};

const START: Duration = Duration::from_mins(1);

/// Starts it; it has listed the Services when this returns.
pub fn start(control_plane: &ControlPlane, sandbox: &Sandbox) -> Result<Daemon> {
    let dir = control_plane.dir();
    let kubeconfig = control_plane.kubeconfig("coredns", ADMIN_TOKEN)?;
    let corefile = dir.join("Corefile");
    // Not ready before its first list is complete.
    let text = format!(
        ".:53 {{\n errors\n ready :8181\n kubernetes cluster.local {{\n  kubeconfig {} c\n }}\n}}\n",
        kubeconfig.display()
    );
    fs::write(&corefile, text).with_context(|| format!("write {}", corefile.display()))?;
    let mut words = daemon::words(tools::find("coredns")?, &["-conf"]);
    words.push(corefile.into());
    let mut coredns = Daemon::start("coredns", &words, sandbox, dir)?;
    coredns.until(START, "CoreDNS is ready", || {
        let said = process::output(sandbox, &["curl", "-sf", "http://127.0.0.1:8181/ready"])?;
        Ok(said.status.success().then_some(()))
    })?;
    Ok(coredns)
}

/// A pod's `/etc/resolv.conf`, as a kubelet writes it, for pods of namespace `default`.
pub fn resolv_conf(control_plane: &ControlPlane, dns: IpAddr) -> Result<PathBuf> {
    let path = control_plane.dir().join("resolv.conf");
    let search = "default.svc.cluster.local svc.cluster.local cluster.local";
    let text = format!("nameserver {dns}\nsearch {search}\noptions ndots:5\n");
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
