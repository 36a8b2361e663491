//! The smaller verbs: `check`, `status --wait`, `version`, `validate`, `cleanup --dry-run`.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::{
    agent::{self, Start},
    one_node::OneNode,
    process,
};

use super::bed;

/// Exit code and output of a verb, whichever way it ends.
pub(super) fn verb(bed: &OneNode, words: &[&str]) -> Result<(i32, String)> {
    let binary = agent::binary()?.display().to_string();
    let line = [&[binary.as_str()], words].concat();
    let out = process::output(bed.node.sandbox(), &line)?;
    let text = out.stdout + &out.stderr;
    Ok((out.status.code().context("it ended by itself")?, text))
}

/// Words of a line, and the heading that explains it; the last ones need an agent.
const ABOUT: &[(&str, &str)] = &[
    ("ports for rewritten sources", "source-ports"),
    ("are not given to sockets", "source-ports"),
    ("CAP_BPF", "capabilities"),
    ("IPv6 forwarding", "forwarding"),
    ("device lb0", "lb0"),
    ("where Services ask for snat", "masquerading"),
    ("no listener behind a node port", "node-ports"),
    ("follow their Service", "udp-sockets"),
];

#[test]
fn each_finding_of_check_leads_to_its_explanation() -> Result<()> {
    let bed = bed()?;
    let dir = bed.node.bpf_dir().display().to_string();
    let headings =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/checks.md"))?;
    let headings: Vec<String> = headings
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    for words in [
        &["check", "-o", "json"][..],
        &["check", "--pre", "-o", "json"],
    ] {
        let (_, text) = verb(&bed, &[words, &["--bpf-dir", &dir]].concat())?;
        let list: Value = serde_json::from_str(&text)?;
        assert_eq!(list["kind"], "CheckList");
        let items = list["items"].as_array().context("a list")?;
        ensure!(items.len() > 10, "{text}");
        let mut found = Vec::new();
        for item in items {
            let docs = item["docs"].as_str().unwrap_or_default();
            let (_, heading) = docs.split_once("docs/checks.md#").context("no page")?;
            ensure!(headings.iter().any(|h| h == heading), "{item}");
            let name = item["name"].as_str().unwrap_or_default();
            let about = ABOUT.iter().find(|(words, _)| name.contains(words));
            ensure!(about.is_none_or(|(_, of)| *of == heading), "{item}");
            found.extend(about);
            let bad = item["verdict"] != "ok";
            ensure!(bad == (item["remedy"] != ""), "{item}");
        }
        let all = if words.contains(&"--pre") {
            &ABOUT[..4]
        } else {
            ABOUT
        };
        ensure!(all.iter().all(|about| found.contains(about)), "{found:?}");
        // Before anything is installed, no agent is asked.
        let asked = items
            .iter()
            .any(|item| item["name"] == "all programs attached");
        assert_eq!(asked, !words.contains(&"--pre"));
    }
    let (_, short) = verb(&bed, &["check", "-o", "short", "--bpf-dir", &dir])?;
    ensure!(
        !short.lines().any(|line| line.starts_with("ok ")),
        "{short}"
    );
    ensure!(
        short
            .lines()
            .last()
            .is_some_and(|line| line.ends_with(" ok")),
        "{short}"
    );
    Ok(())
}

#[test]
fn status_waits_for_an_agent_that_is_ready() -> Result<()> {
    let mut bed = bed()?;
    let dir = bed.node.bpf_dir().display().to_string();
    bed.agent.take().expect("it was started").stop()?;
    let began = Instant::now();
    let (code, text) = verb(&bed, &["status", "--wait=1s", "--bpf-dir", &dir])?;
    ensure!(code == 1 && began.elapsed().as_secs() >= 1, "{code} {text}");
    bed.agent = Some(Start::new().without_waiting(&bed.node)?);
    let (code, text) = verb(&bed, &["status", "--wait", "--bpf-dir", &dir])?;
    ensure!(code == 0 && text.contains("Ready"), "{code} {text}");
    let (code, _) = verb(&bed, &["status", "--wait=soon", "--bpf-dir", &dir])?;
    assert_eq!(code, 2);
    Ok(())
}

#[test]
fn version_names_the_binary_the_agent_and_the_layouts() -> Result<()> {
    let bed = bed()?;
    let dir = bed.node.bpf_dir().display().to_string();
    let (code, text) = verb(&bed, &["version", "-o", "json", "--bpf-dir", &dir])?;
    assert_eq!(code, 0, "{text}");
    let all: Value = serde_json::from_str(&text)?;
    assert_eq!(all["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(all["running"], all["version"]);
    ensure!(all["kernel"].as_str().is_some_and(|k| k.contains('.')));
    let maps = all["maps"].as_array().context("maps")?;
    ensure!(maps.iter().all(|map| map["pinned"] == true), "{text}");
    Ok(())
}

#[test]
fn validate_names_file_and_line_and_fails() -> Result<()> {
    let bed = bed()?;
    let manifests = bed.node.manifests().display().to_string();
    let (code, text) = verb(&bed, &["validate", &manifests])?;
    ensure!(code == 0 && text.contains("good"), "{code} {text}");

    let dir = tempfile::tempdir()?;
    let bad = dir.path().join("bad.yaml");
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  clusterIP: 10.96.0.1\n";
    fs::write(
        &bad,
        format!("{service}---\n{service}  ports:\n  - port: many\n"),
    )?;
    let shown = dir.path().display().to_string();
    let (code, text) = verb(&bed, &["validate", &shown])?;
    // Line 13 has the word.
    ensure!(
        code == 1 && text.contains(&format!("{}:13: ", bad.display())),
        "{code} {text}"
    );
    fs::write(
        &bad,
        format!("{service}  ports:\n  - port: 80\n  externalIPs: [10.0.0.300]\n"),
    )?;
    let (code, text) = verb(&bed, &["validate", &shown])?;
    ensure!(
        code == 1 && text.contains("Service default/a: externalIPs"),
        "{code} {text}"
    );

    let config = dir.path().join("config.conf");
    let shown = config.display().to_string();
    let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
    for (body, code, words) in [
        ("mode: nftables\n", 0, "good"),
        ("mode: magic\n", 1, "mode: magic"),
        ("mode: [\n", 1, ":"),
    ] {
        fs::write(&config, format!("{head}{body}"))?;
        let (found, text) = verb(&bed, &["validate", "--config", &shown])?;
        ensure!(
            found == code && text.contains(words),
            "{body}: {found} {text}"
        );
    }
    assert_eq!(verb(&bed, &["validate"])?.0, 2);
    Ok(())
}

#[test]
fn a_dry_cleanup_removes_nothing_and_names_everything() -> Result<()> {
    let mut bed = bed()?;
    bed.agent.take().expect("it was started").stop()?;
    // As writes leave them that the end of a machine interrupts.
    let state = bed.node.files().join("state");
    fs::write(state.join("problems.new"), "{")?;
    fs::write(state.join("events.new"), "")?;
    fs::write(state.join("events.json"), "")?;
    fs::write(state.join("problems.json"), "")?;
    let text = agent::verb(&bed.node, &["cleanup", "--dry-run"])?;
    for words in [
        "state/problems.json",
        "state/problems.new",
        "state/events.new",
        "lb_connect4",
        "maps/lb_frontends",
        "device lb0",
        "state/names",
        "agent.sock",
    ] {
        ensure!(text.contains(words), "no {words} in\n{text}");
    }
    ensure!(!agent::verb(&bed.node, &["get", "services"])?.is_empty());
    agent::verb(&bed.node, &["cleanup"])?;
    ensure!(
        !state.exists(),
        "{:?}",
        fs::read_dir(&state)?.collect::<Vec<_>>()
    );
    let text = agent::verb(&bed.node, &["cleanup", "--dry-run"])?;
    ensure!(
        text.contains("nothing of the agent is left") || !text.contains("lb_connect4"),
        "{text}"
    );
    Ok(())
}
