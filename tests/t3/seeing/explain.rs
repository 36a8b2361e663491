//! `explain`: live, without an agent from manifests, and for one connection.

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr,
    agent::{self, CHANGE},
    one_node::{self, NODE_PORT, OneNode, PORT, TARGET, WEB_VIP},
    poll,
    probe::{Family, Kind},
};

use super::bed;

fn explain(bed: &OneNode, words: &[&str]) -> Result<String> {
    agent::verb(&bed.node, &[&["explain"], words].concat())
}

fn refused(bed: &OneNode, words: &[&str], reason: &str) -> Result<()> {
    let error = explain(bed, words).err().context("it must be refused")?;
    let error = format!("{error:#}");
    ensure!(error.contains(reason), "{words:?}: {error}");
    Ok(())
}

#[test]
fn each_endpoint_has_the_rule_that_admits_or_excludes_it() -> Result<()> {
    let mut bed = bed()?;
    let mut pods = one_node::web_pods(&bed.node);
    pods[1].ready = false;
    pods[1].serving = false;
    pods[2].node = "node-elsewhere".to_owned();
    let web = one_node::web(&bed.node)
        .endpoints(pods)
        .spec("externalTrafficPolicy: Local");
    bed.apply(&web)?;
    poll::until_true(CHANGE, "the change is explained", || {
        Ok(explain(&bed, &["svc/web"])?.contains("not ready"))
    })?;
    let text = explain(&bed, &["svc/web", "-n", "default"])?;
    for words in [
        "default/web, type LoadBalancer",
        "internal Cluster, external Local",
        "default/web-1",
        "not ready",
        "policy Local: it runs on node-elsewhere, not on this node",
        "a new connection gets one of 2 of 3 endpoints, chosen by random",
        "a new connection gets one of 1 of 3 endpoints, chosen by random",
        "Nothing is left unprogrammed.",
    ] {
        ensure!(text.contains(words), "no {words:?} in\n{text}");
    }
    ensure!(!text.contains("no: see below"), "{text}");
    // A client inside never meets the local pool, one outside does.
    let inside = explain(&bed, &["svc/web", "--from", "pod/client"])?;
    ensure!(!inside.contains("policy Local: it runs"), "{inside}");
    let outside = explain(&bed, &["svc/web", "--from", "192.0.2.1"])?;
    ensure!(
        outside.contains("policy Local: it runs") && outside.contains("outside of the cluster")
    );
    let port = explain(&bed, &["svc/web", "--port", "80", "-o", "json"])?;
    let port: serde_json::Value = serde_json::from_str(&port)?;
    assert_eq!(port["kind"], "Explanation");
    ensure!(
        port["frontends"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    );

    refused(&bed, &["svc/nobody"], "knows no Service nobody")?;
    refused(&bed, &["svc/web", "--port", "81"], "has no port")?;
    refused(&bed, &["svc/we?b"], "is no name")?;
    refused(
        &bed,
        &["svc/web", "--from", "somewhere"],
        "neither pod/NAME nor an address",
    )?;
    bed.agent.take().expect("it was started").stop()?;
    refused(&bed, &["svc/web"], "no agent answers")?;
    // From files the same, for a node of choice.
    let dir = bed.node.manifests().display().to_string();
    let offline = explain(
        &bed,
        &[
            "svc/web",
            "--manifests",
            &dir,
            "--node-name",
            "node-elsewhere",
        ],
    )?;
    ensure!(offline.contains("policy Local: it runs on"), "{offline}");
    ensure!(offline.contains("not asked"), "{offline}");
    Ok(())
}

#[test]
fn what_is_not_programmed_is_explained() -> Result<()> {
    let bed = bed()?;
    // The same VIP as `web`, and younger: by name it comes later.
    let pods = one_node::web_pods(&bed.node);
    bed.apply(&one_node::behind("wrong", WEB_VIP, &pods).port(PORT, TARGET))?;
    poll::until_true(CHANGE, "it is explained", || {
        let text = explain(&bed, &["svc/wrong"])?;
        Ok(text.contains("no: see below") && text.contains("belongs to Service default/web"))
    })
}

#[test]
fn a_connection_is_explained_from_the_pins() -> Result<()> {
    let mut bed = bed()?;
    bed.apply(&one_node::behind("empty", addr::vip(75), &[]).port(PORT, TARGET))?;
    poll::until_true(CHANGE, "the empty one is there", || {
        Ok(explain(&bed, &["svc/empty"])?.contains("yes"))
    })?;
    let outside = bed.lan.client(1)?;
    let to = bed.node.addr().at(Family::V4, NODE_PORT);
    let flow = outside.connect(Kind::Tcp, to)?;
    let pod = flow.ask("who")?.name;
    bed.agent.take().expect("it was started").kill()?;
    let source = outside.addr.v4.to_string();
    let text = explain(&bed, &["flow", &source, &to.to_string()])?;
    for words in [
        "meets *:30080 of default/web:",
        "chosen by random",
        "open: ",
        &pod,
    ] {
        ensure!(text.contains(words), "no {words:?} in\n{text}");
    }
    let vip = addr::vip(75).at(Family::V6, PORT).to_string();
    let text = explain(&bed, &["flow", "fd00::1", &vip])?;
    ensure!(text.contains("is refused: no endpoint is ready"), "{text}");
    let text = explain(&bed, &["flow", &source, "192.0.2.9:80/udp"])?;
    ensure!(text.contains("meets no frontend"), "{text}");
    refused(&bed, &["flow", &source, "nowhere"], "is no destination")
}

/// Only root may ask.
#[test]
fn the_agents_socket_is_roots_alone() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let bed = bed()?;
    let socket = bed.node.files().join("state/agent.sock");
    let mode = std::fs::metadata(&socket)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    Ok(())
}
