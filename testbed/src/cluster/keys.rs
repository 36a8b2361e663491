//! Who may call the API server: tokens, the key that signs those of ServiceAccounts, and
//! kubeconfigs.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::flags::PORT;

/// The token of a cluster administrator.
pub const ADMIN_TOKEN: &str = "admin-token";
/// The token of `system:kube-proxy`, with the rights that the API server gives it by itself.
pub(super) const KUBE_PROXY_TOKEN: &str = "kube-proxy-token";
/// The token of `system:kube-scheduler`.
pub(super) const SCHEDULER_TOKEN: &str = "scheduler-token";
/// Nodes whose kubelets have a token, from 1 on.
const NODES: u8 = 3;

/// The token of the kubelet of `node-<number>`.
#[must_use]
pub fn node_token(number: u8) -> String {
    format!("node-{number}-token")
}

/// Writes tokens and key.
pub(super) fn write(dir: &Path) -> Result<()> {
    let key = dir.join("service-account.key");
    let made = Command::new("openssl")
        .args([
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
        ])
        .arg(&key)
        .output()
        .context("start openssl (package openssl)")?;
    if !made.status.success() {
        bail!(
            "make {}: {}",
            key.display(),
            String::from_utf8_lossy(&made.stderr)
        );
    }
    fs::write(dir.join("tokens.csv"), tokens()).context("write the tokens")
}

/// Lines of token, user, UID and groups.
fn tokens() -> String {
    let mut text = format!(
        "{ADMIN_TOKEN},admin,1,\"system:masters\"\n\
         {KUBE_PROXY_TOKEN},system:kube-proxy,2,\"system:node-proxier\"\n\
         {SCHEDULER_TOKEN},system:kube-scheduler,3\n"
    );
    for number in 1..=NODES {
        let token = node_token(number);
        let uid = 10 + number;
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{token},system:node:node-{number},{uid},\"system:nodes\""
        );
    }
    text
}

/// A kubeconfig for the API server at this address.
pub(super) fn kubeconfig(dir: &Path, user: &str, token: &str, address: IpAddr) -> Result<PathBuf> {
    let server = SocketAddr::new(address, PORT);
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority": dir.join("certs/apiserver.crt"),
        }}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": user}}],
        "current-context": "c",
    });
    let path = dir.join(format!("{user}.kubeconfig"));
    // Whole, by a rename: another test may be reading it.
    let mut draft = tempfile::NamedTempFile::new_in(dir).context("make a file")?;
    draft
        .write_all(config.to_string().as_bytes())
        .and_then(|()| draft.persist(&path).map_err(|error| error.error))
        .with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
