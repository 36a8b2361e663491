//! The same files for the real kube-proxy and for the agent: what one accepts or refuses, the other
//! does too. The few differences stand in the table, each with its reason.

mod files;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use files::{
    FILES, HEAD,
    Verdict::{Bad, Found, Good, Lenient, Strict},
    WHOLE,
};
use testbed::{agent, cluster::tool};

/// kube-proxy reads and checks the file, writes what it understood, and ends.
fn kube_proxy(file: &Path) -> Result<Output> {
    let out = file.with_extension("out");
    Command::new(tool("kube-proxy")?)
        .args([
            Path::new("--config"),
            file,
            Path::new("--write-config-to"),
            &out,
        ])
        .output()
        .context("run kube-proxy")
}

/// The agent reads and checks the file, and then ends for want of a source, before it touches
/// anything.
fn agent(file: &Path) -> Result<Option<String>> {
    let done = Command::new(agent::binary()?)
        .arg("--config")
        .arg(file)
        .env_remove("KUBERNETES_SERVICE_HOST")
        .output()
        .context("run the agent")?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(!done.status.success(), "it runs without a source: {said}");
    if said.contains("no source of Services") {
        return Ok(None);
    }
    let path = format!("lb-agent: --config {}: ", file.display());
    let reason = said.strip_prefix(&path);
    let reason = reason.with_context(|| format!("not about the file: {said}"))?;
    Ok(Some(reason.trim().to_owned()))
}

#[test]
fn the_same_files_are_accepted_and_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("config.yaml");
    let mut wrong = Vec::new();
    let bodies = FILES
        .iter()
        .map(|(body, v)| (format!("{HEAD}{body}\n"), *v));
    let whole = WHOLE.iter().map(|(text, v)| ((*text).to_owned(), *v));
    for (text, verdict) in bodies.chain(whole) {
        fs::write(&file, &text)?;
        let theirs = kube_proxy(&file)?.status.success();
        let ours = agent(&file)?;
        let as_expected = match (verdict, &ours) {
            (Good, None) => theirs,
            (Lenient | Found, None) => !theirs,
            (Bad(begin), Some(reason)) => !theirs && reason.starts_with(begin),
            (Strict(begin), Some(reason)) => theirs && reason.starts_with(begin),
            _ => false,
        };
        if !as_expected {
            wrong.push(format!(
                "{verdict:?}, but kube-proxy accepts: {theirs}, ours says: {ours:?}\n{text}"
            ));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Every field at its default, as kube-proxy itself writes it; and what it makes of a file that
/// says much.
#[test]
fn what_kube_proxy_writes_is_read_without_a_word() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("config.yaml");
    let done = Command::new(tool("kube-proxy")?)
        .arg("--write-config-to")
        .arg(&file)
        .output()?;
    ensure!(done.status.success());
    assert_eq!(agent(&file)?, None);
    let read = lb_agent::settings::file::ConfigFile::read(&fs::read_to_string(&file)?)?;
    assert_eq!(read.warning(), None, "defaults ask for nothing");
    for mode in ["nftables", "ipvs"] {
        fs::write(&file, format!("{HEAD}mode: {mode}\n"))?;
        ensure!(kube_proxy(&file)?.status.success());
        let written = fs::read_to_string(file.with_extension("out"))?;
        let read = lb_agent::settings::file::ConfigFile::read(&written)?;
        assert_eq!(read.warning(), None, "{written}");
    }
    Ok(())
}
