//! `dump`: what is in the archive, and what is not.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::{agent, one_node::OneNode};

use super::bed;

/// Name and text of each file, as `tar` unpacks them.
fn unpacked(bed: &OneNode, words: &[&str]) -> Result<BTreeMap<String, String>> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("dump.tar.gz").display().to_string();
    agent::verb(&bed.node, &[&["dump", &file], words].concat())?;
    let into = dir.path().display().to_string();
    bed.node.run(&["tar", "-xzf", &file, "-C", &into])?;
    let mut all = BTreeMap::new();
    let mut folders = vec![dir.path().join("lb-agent-dump")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir.path())?.display().to_string();
                all.insert(name, std::fs::read_to_string(path)?);
            }
        }
    }
    Ok(all)
}

#[test]
fn a_dump_has_everything_but_secrets_with_or_without_an_agent() -> Result<()> {
    let mut bed = bed()?;
    let log = bed.node.files().join("some.log");
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlIn0.c2lnbmF0dXJl";
    std::fs::write(
        &log,
        format!(
            "{}asked with {token}\npassword: hunter2\nall is well\n",
            bed.agent.as_ref().context("it runs")?.log()?
        ),
    )?;
    let log = log.display().to_string();
    let all = unpacked(&bed, &["--log", &log])?;
    let file = |name: &str| {
        let found = all.get(&format!("lb-agent-dump/{name}"));
        found.with_context(|| format!("no {name} among {:?}", all.keys()))
    };
    for (name, kind) in [
        ("get-services.json", "FrontendList"),
        ("get-backends.json", "BackendList"),
        ("get-flows.json", "FlowList"),
        ("get-sockets.json", "SocketList"),
        ("get-affinity.json", "AffinityList"),
        ("get-events.json", "EventList"),
        ("status.json", "Status"),
        ("version.json", "Version"),
    ] {
        let value: Value = serde_json::from_str(file(name)?).with_context(|| name.to_owned())?;
        assert_eq!(value["kind"], kind, "{name}");
    }
    ensure!(file("check.json")?.contains("CheckList"));
    ensure!(file("metrics.txt")?.contains("lb_agent_build_info"));
    ensure!(file("configz.json")?.contains("lb-agent"));
    ensure!(file("pins.txt")?.contains("lb_frontends"));
    ensure!(file("proc/net/dev")?.contains("eth0"));
    ensure!(file("ip-rule.txt")?.contains("lookup"));
    let log = file("agent.log")?;
    ensure!(
        log.contains("all is well") && log.contains("initial sync complete"),
        "{log}"
    );
    // Nothing else is taken for a secret.
    for (name, text) in &all {
        ensure!(!text.contains(token) && !text.contains("hunter2"), "{name}");
        let expected = if name.ends_with("/agent.log") { 2 } else { 0 };
        let taken: Vec<&str> = text.lines().filter(|l| l.contains("REDACTED")).collect();
        ensure!(taken.len() == expected, "{name}: {taken:#?}");
    }
    bed.agent.take().expect("it was started").kill()?;
    let all = unpacked(&bed, &[])?;
    ensure!(all["lb-agent-dump/metrics.txt"].contains("no agent answers"));
    ensure!(all["lb-agent-dump/get-services.json"].contains("FrontendList"));
    Ok(())
}

/// A container of the image has neither a file system to write to nor `tar`.
#[test]
fn a_dump_to_standard_output_is_the_archive_alone() -> Result<()> {
    let bed = bed()?;
    let dir = tempfile::tempdir()?;
    let (file, said) = (dir.path().join("x.tar.gz"), dir.path().join("said"));
    let line = format!(
        "{} dump - --bpf-dir {} > {} 2> {}",
        agent::binary()?.display(),
        bed.node.bpf_dir().display(),
        file.display(),
        said.display()
    );
    bed.node.run(&["sh", "-c", &line])?;
    let names = bed
        .node
        .run(&["tar", "-tzf", &file.display().to_string()])?;
    ensure!(names.contains("lb-agent-dump/get-services.json"), "{names}");
    let said = std::fs::read_to_string(said)?;
    ensure!(said.starts_with("standard output: "), "{said}");
    // What is there already is not written over.
    let taken = agent::verb(&bed.node, &["dump", &file.display().to_string()]);
    ensure!(taken.is_err());
    Ok(())
}
