//! `KubeProxyConfiguration` v1alpha1 as kube-proxy 1.37 reads it: every field has a meaning here,
//! or a warning that says why it has none.

mod addresses;
mod fields;
mod modes;
mod sections;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use fields::Fields;
use serde_json::Value;

use super::partial::Partial;

const VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";

/// A file, read and checked.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ConfigFile {
    /// The settings in it.
    pub settings: Partial,
    /// Fields that have no meaning here, each with the reason.
    pub warnings: Vec<String>,
    /// The file as it was read, for `/configz`.
    pub raw: Value,
}

impl ConfigFile {
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

    /// All warnings as one text, if there are any.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (!self.warnings.is_empty()).then(|| self.warnings.join("; "))
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
