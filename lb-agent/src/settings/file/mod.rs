//! `KubeProxyConfiguration` v1alpha1 as kube-proxy 1.37 reads it: every field has a meaning here, or a remark that says why
//! it has none. Owns the reading and its errors; what is done with the values is the business of `config`.

mod addresses;
mod duration;
mod fields;
mod modes;
mod sections;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::model::Scheduler;

use super::values::{ClientRate, Conntrack, LogFormat, NodePortAddress};

use fields::Fields;

const VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";

/// What a file says. `None` and empty lists: it is silent, and our own default holds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct KubeProxy {
    /// `hostnameOverride`, in lower case.
    pub node_name: Option<String>,
    /// `bindAddress`, if it is one address: the Node's own of its family.
    pub node_ip: Option<IpAddr>,
    /// `healthzBindAddress`
    pub health_address: Option<SocketAddr>,
    /// `metricsBindAddress`
    pub metrics_address: Option<SocketAddr>,
    /// `bindAddressHardFail`
    pub bind_hard_fail: bool,
    /// `clientConnection.kubeconfig`
    pub kubeconfig: Option<PathBuf>,
    /// `clientConnection.qps` and `.burst`.
    pub client_rate: Option<ClientRate>,
    /// `ipvs.scheduler`, in mode ipvs.
    pub scheduler: Option<Scheduler>,
    /// `nodePortAddresses`, or their default in the file's mode.
    pub node_port_addresses: Vec<NodePortAddress>,
    /// `minSyncPeriod` of the mode's section.
    pub min_sync_period: Option<Duration>,
    /// `syncPeriod` of the mode's section.
    pub sync_period: Option<Duration>,
    /// `oomScoreAdj`
    pub oom_score_adj: Option<i64>,
    /// `conntrack`
    pub conntrack: Conntrack,
    /// `logging.format`
    pub log_format: Option<LogFormat>,
    /// The level that `logging.verbosity` stands for.
    pub log_level: Option<&'static str>,
    /// Fields that have no meaning here, each with the reason.
    pub remarks: Vec<String>,
    /// The file as it was read, for `/configz`.
    pub raw: Value,
}

impl KubeProxy {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("--config: read {}", path.display()))?;
        Self::read(&text).with_context(|| format!("--config {}", path.display()))
    }

    /// Reads a text of one document, YAML or JSON. Errors name the field.
    pub fn read(text: &str) -> Result<Self> {
        let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
        let raw: Value = serde_saphyr::from_str_with_options(text, options)?;
        let mut fields = Fields::of("", raw.clone())?;
        let (version, kind) = (fields.text("apiVersion")?, fields.text("kind")?);
        let version =
            version.with_context(|| format!("apiVersion: missing, {VERSION} is known"))?;
        let kind = kind.with_context(|| format!("kind: missing, {KIND} is known"))?;
        ensure!(
            version == VERSION,
            "apiVersion: {version} is not {VERSION}, the only one that is known"
        );
        ensure!(
            kind == KIND,
            "kind: {kind} is not {KIND}, the only one that is known"
        );
        let mut read = sections::all(fields)?;
        read.raw = raw;
        Ok(read)
    }

    /// The one warning, if there is anything to say.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (!self.remarks.is_empty()).then(|| self.remarks.join("; "))
    }
}

/// Which section of the file holds periods and a scheduler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    IpTables,
    Ipvs,
    NfTables,
}

impl Mode {
    fn take(fields: &mut Fields) -> Result<Self> {
        Ok(match fields.text("mode")?.as_deref() {
            None | Some("iptables") => Self::IpTables,
            Some("ipvs") => Self::Ipvs,
            Some("nftables") => Self::NfTables,
            Some(other) => bail!("mode: {other} is neither iptables, ipvs nor nftables"),
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::IpTables => "iptables",
            Self::Ipvs => "ipvs",
            Self::NfTables => "nftables",
        }
    }
}

#[cfg(test)]
mod tests;
