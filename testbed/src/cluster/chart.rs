//! The real helm, and the chart of this repository.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::api::{Api, PostParams};
use serde_json::Value;

use super::{ControlPlane, tools};
use crate::{process, sandbox::Sandbox};

/// The chart's directory.
#[must_use]
pub fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../helm")
}

/// The value files beside the chart, by name.
pub fn value_files() -> Result<Vec<PathBuf>> {
    let dir = dir().join("ci");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// Runs helm with a home of its own; an error is one that helm could not be started.
pub fn helm(home: &Path, args: &[&str]) -> Result<Output> {
    let mut helm = Command::new(tools::find("helm")?);
    helm.args(args)
        .env("HOME", home)
        .env_remove("KUBECONFIG")
        .env("XDG_CACHE_HOME", home)
        .env("XDG_CONFIG_HOME", home);
    helm.env("XDG_DATA_HOME", home)
        .output()
        .context("start helm")
}

/// What the templates make of the values: every document, as JSON.
pub fn template(home: &Path, args: &[&str]) -> Result<Vec<Value>> {
    let dir = dir();
    let mut words = vec![
        "template",
        "lb-agent",
        path_str(&dir)?,
        "--namespace",
        "kube-system",
    ];
    words.extend(args);
    let done = helm(home, &words)?;
    if !done.status.success() {
        bail!(
            "helm {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    let text = String::from_utf8(done.stdout).context("helm's output")?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).context("parse what helm made")?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

/// Runs helm on the real API server, from a sandbox that reaches it, in namespace `kube-system`.
pub fn on_cluster(
    control_plane: &ControlPlane,
    sandbox: &Sandbox,
    args: &[&str],
) -> Result<String> {
    let helm = tools::find("helm")?;
    let kubeconfig = control_plane.kubeconfig("helm", super::ADMIN_TOKEN)?;
    let home = format!("HOME={}", path_str(control_plane.dir())?);
    let mut words = vec!["env", &home, path_str(&helm)?];
    words.extend(args);
    words.extend(["--namespace", "kube-system"]);
    words.extend(["--kubeconfig", path_str(&kubeconfig)?]);
    process::run(sandbox, &words)
}

/// Installs a release.
pub fn install(
    control_plane: &ControlPlane,
    sandbox: &Sandbox,
    release: &str,
    values: &[&str],
) -> Result<String> {
    let dir = dir();
    let words = [&["install", release, path_str(&dir)?], values].concat();
    on_cluster(control_plane, sandbox, &words)
}

/// Removes a release.
pub fn uninstall(control_plane: &ControlPlane, sandbox: &Sandbox, release: &str) -> Result<String> {
    on_cluster(control_plane, sandbox, &["uninstall", release])
}

/// A token of a ServiceAccount, as a kubelet gets it for a pod.
pub fn token(control_plane: &ControlPlane, namespace: &str, account: &str) -> Result<String> {
    let (namespace, name) = (namespace.to_owned(), account.to_owned());
    let request = control_plane.client().with(move |client| async move {
        let spec = TokenRequestSpec {
            expiration_seconds: Some(3600),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest {
            spec: Some(spec),
            ..TokenRequest::default()
        };
        Api::<ServiceAccount>::namespaced(client, &namespace)
            .create_token_request(&name, &PostParams::default(), &request)
            .await
    })?;
    let token = request.status.and_then(|status| status.token);
    token.with_context(|| format!("no token for {account}"))
}

/// A path as an argument between others.
pub fn path_str(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
