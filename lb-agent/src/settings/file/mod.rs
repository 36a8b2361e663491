//! `KubeProxyConfiguration` v1alpha1 as kube-proxy 1.37 reads it: every field has a meaning here,
//! or a warning that says why it has none.

mod addresses;
mod fields;
mod located;
mod modes;
mod sections;
mod strangers;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use fields::Fields;
use located::Located;
use serde_json::Value;

use super::partial::Partial;
use crate::documents;

const VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";

/// A file, read and checked.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ConfigFile {
    /// The settings in it.
    pub settings: Partial,
    /// Fields that have no meaning here, each with the reason.
    pub warnings: Vec<String>,
    /// Well-known fields that do not belong where they are, documents of other kinds and the like,
    /// each with its line: kube-proxy goes on without them, and so does the agent.
    pub strangers: Vec<String>,
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

    /// Reads a text, YAML or JSON, that has one document of this kind among others. Errors name the
    /// field.
    pub fn read(text: &str) -> Result<Self> {
        let (mut document, mut strangers) = choose(text)?;
        let raw = document.value.clone();
        strangers.extend(strangers::take(&mut document)?);
        let mut fields = Fields::of("", document.value)?;
        let (version, kind) = (fields.text("apiVersion")?, fields.text("kind")?);
        let version =
            version.with_context(|| format!("apiVersion: missing, {VERSION} is known"))?;
        let kind = kind.with_context(|| format!("kind: missing, {KIND} is known"))?;
        let remedy = match kind.as_str() {
            "ConfigMap" => ": give what its data has below config.conf as the file",
            _ => "",
        };
        ensure!(
            version == VERSION,
            "apiVersion: {version} is not {VERSION}, the only one that is known{remedy}"
        );
        ensure!(
            kind == KIND,
            "kind: {kind} is not {KIND}, the only one that is known"
        );
        let mut read = sections::all(fields)?;
        (read.raw, read.strangers) = (raw, strangers);
        Ok(read)
    }

    /// The line of the whole file where the parser stopped, if it is the parser's error.
    #[must_use]
    pub fn stopped_at(error: &anyhow::Error) -> Option<u64> {
        located::stopped_at(error)
    }

    /// Refuses what kube-proxy would go on without.
    pub fn refuse_strangers(&self, path: &Path) -> Result<()> {
        ensure!(
            self.strangers.is_empty(),
            "--config {}: refused by --config-strict: {}",
            path.display(),
            self.strangers.join("; ")
        );
        Ok(())
    }

    /// All warnings as one text, if there are any.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (!self.warnings.is_empty()).then(|| self.warnings.join("; "))
    }
}

/// The document of this kind, and what is to be said of the others. A text without one is read as
/// the one document that it has, so that what is wrong with it is found.
fn choose(text: &str) -> Result<(Located, Vec<String>)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parts: Vec<(usize, &str)> = documents::split(text)
        .into_iter()
        .filter(|(_, part)| !documents::is_blank(part))
        .collect();
    let Some((first, rest)) = parts.split_first() else {
        return Ok(<_>::default());
    };
    let read = |(line, part): &(usize, &str)| {
        let line = u64::try_from(*line).unwrap_or(1);
        Located::read(part, line).map(|read| (line, read))
    };
    if rest.is_empty() {
        return Ok((read(first)?.1, Vec::new()));
    }
    let (mut chosen, mut told, mut others) = (None, Vec::new(), Vec::new());
    for part in &parts {
        let (line, document) = read(part)?;
        let field = |name| document.value.get(name).and_then(Value::as_str);
        let kind = field("kind").unwrap_or("no kind").to_owned();
        if kind != KIND {
            others.push(kind.clone());
            told.push(format!("line {line}: this document ({kind}) is not read"));
        } else if chosen.is_some() {
            told.push(format!(
                "line {line}: a second {KIND}, of which only the first is read, as by kube-proxy"
            ));
        } else {
            chosen = Some(document);
        }
    }
    let chosen = chosen.with_context(|| {
        format!(
            "kind: none of the {} documents is a {KIND}, they are: {}",
            parts.len(),
            others.join(", ")
        )
    })?;
    Ok((chosen, told))
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
