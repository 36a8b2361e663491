//! The command lines of a control plane's processes.

use std::{ffi::OsString, net::IpAddr, path::Path};

use anyhow::Result;

use super::{daemon, tools};

/// The ClusterIP of the API server: the first of the service range.
pub const SERVICE_HOST: &str = "10.96.0.1";
const SERVICE_RANGES: &str = "10.96.0.0/16,fd66:96::/112";
/// Not the Service's 443, so that a mix-up of the two shows.
pub(super) const PORT: u16 = 6443;
const ETCD: &str = "http://127.0.0.1:23790";
const ETCD_PEERS: &str = "http://127.0.0.1:23791";

/// What stands behind the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pods {
    /// Pods are objects that a test makes, so what is needed makes EndpointSlices of them.
    Written,
    /// Pods run: scheduler, kubelets and every controller belong to it.
    Run,
}

pub(super) fn etcd(dir: &Path) -> Result<Vec<OsString>> {
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

pub(super) fn manager(pods: Pods, dir: &Path, kubeconfig: &Path) -> Result<Vec<OsString>> {
    let controllers = match pods {
        Pods::Written => {
            "endpointslice-controller,endpointslice-mirroring-controller,namespace-controller"
        }
        Pods::Run => "*",
    };
    let mut words = daemon::words(
        tools::find("kube-controller-manager")?,
        &[
            format!("--controllers={controllers}").as_str(),
            "--leader-elect=false",
            "--secure-port=0",
            // The default of 20 a second would be what a test of many changes measures.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--kubeconfig",
        ],
    );
    words.push(kubeconfig.into());
    if pods == Pods::Run {
        for (flag, file) in [
            ("--root-ca-file", "certs/apiserver.crt"),
            // Not below /usr of the machine.
            ("--flex-volume-plugin-dir", "plugins"),
            ("--service-account-private-key-file", "service-account.key"),
        ] {
            words.extend([flag.into(), dir.join(file).into()]);
        }
    }
    Ok(words)
}

pub(super) fn scheduler(kubeconfig: &Path) -> Result<Vec<OsString>> {
    let mut words = daemon::words(
        tools::find("kube-scheduler")?,
        &["--leader-elect=false", "--secure-port=0", "--kubeconfig"],
    );
    words.push(kubeconfig.into());
    Ok(words)
}

pub(super) fn api(pods: Pods, dir: &Path, address: IpAddr) -> Result<Vec<OsString>> {
    let mut words = daemon::words(
        tools::find("kube-apiserver")?,
        &[
            format!("--etcd-servers={ETCD}"),
            format!("--secure-port={PORT}"),
            format!("--bind-address={address}"),
            format!("--advertise-address={address}"),
            format!("--service-cluster-ip-range={SERVICE_RANGES}"),
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
    let more: &[&str] = match pods {
        // A pod needs no ServiceAccount then, and no controller that makes one.
        Pods::Written => &[
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
        ],
        Pods::Run => &[
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            // No DNS knows the nodes' names.
            "--kubelet-preferred-address-types=InternalIP",
        ],
    };
    words.extend(more.iter().map(Into::into));
    Ok(words)
}
