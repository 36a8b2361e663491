//! docs/on-call.md: its commands say on a node what the page says that they say.

use anyhow::{Result, ensure};
use testbed::{
    addr,
    agent::CHANGE,
    one_node::{self, NODE_PORT, OneNode, PORT, TARGET, WEB_VIP},
    poll,
    probe::{Family, Kind},
};

use super::{bed, verbs::verb};

const PAGE: &str = include_str!("../../../docs/on-call.md");

/// Waits until the command says all of this, which must stand on the page.
fn says(bed: &OneNode, words: &[&str], phrases: &[&str]) -> Result<()> {
    for phrase in phrases {
        ensure!(PAGE.contains(phrase), "the page does not have {phrase:?}");
    }
    let dir = bed.node.bpf_dir().display().to_string();
    let line = [words, &["--bpf-dir", &dir]].concat();
    let mut last = String::new();
    let said = poll::until_true(CHANGE, "the command says so", || {
        last = verb(bed, &line)?.1;
        Ok(phrases.iter().all(|phrase| last.contains(phrase)))
    });
    said.map_err(|error| error.context(format!("{words:?}: {phrases:?} in\n{last}")))
}

#[test]
fn a_service_is_explained_as_the_page_says() -> Result<()> {
    let bed = bed()?;
    let mut pods = one_node::web_pods(&bed.node);
    let web = || one_node::web(&bed.node);
    let why = ["explain", "svc/web"];
    says(&bed, &why, &["one of 3 of 3 endpoints"])?;
    for pod in &mut pods {
        pod.node = "node-elsewhere".to_owned();
    }
    let local = web().spec("externalTrafficPolicy: Local");
    bed.apply(&local.endpoints(pods.clone()))?;
    let unreachable =
        "unreachable: policy Local, and no endpoint that could serve runs on this node";
    says(&bed, &why, &[unreachable, "policy Local: it runs on"])?;
    let outside = bed.lan.client(1)?.addr.v4.to_string();
    let to = bed.node.addr().at(Family::V4, NODE_PORT).to_string();
    let flow = ["explain", "flow", &outside, &to];
    says(
        &bed,
        &flow,
        &["finds no endpoint on this node (policy Local)"],
    )?;
    for pod in &mut pods {
        (pod.ready, pod.serving) = (false, false);
    }
    bed.apply(&web().endpoints(pods.clone()))?;
    says(
        &bed,
        &why,
        &["refused at once: no endpoint is ready", "not ready"],
    )?;
    says(&bed, &flow, &["is refused: no endpoint is ready"])?;
    bed.apply(&web().endpoints([]))?;
    says(&bed, &why, &["refused at once: the port has no endpoint"])?;
    bed.apply(&one_node::behind("younger", WEB_VIP, &pods).port(PORT, TARGET))?;
    let younger = ["explain", "svc/younger"];
    says(&bed, &younger, &["no: see below", "belongs to Service"])
}

#[test]
fn connections_and_a_dead_agent_are_shown_as_the_page_says() -> Result<()> {
    let mut bed = bed()?;
    let outside = bed.lan.client(1)?;
    let source = outside.addr.v4.to_string();
    let to = bed.node.addr().at(Family::V4, NODE_PORT);
    let flow = ["explain", "flow", &source, &to.to_string()];
    let waiting = [
        "a new connection gets one of these",
        "no packets of it are being translated",
    ];
    says(&bed, &flow, &waiting)?;
    let elsewhere = addr::lb(99).at(Family::V4, PORT).to_string();
    says(
        &bed,
        &["explain", "flow", &source, &elsewhere],
        &["meets no frontend"],
    )?;
    let _open = outside.connect(Kind::Tcp, to)?;
    says(&bed, &flow, &["is remembered: it keeps", "open:"])?;
    let dir = bed.node.bpf_dir().display().to_string();
    let (_, text) = verb(&bed, &[&flow[..], &["--bpf-dir", &dir]].concat())?;
    assert_eq!(text.matches("is remembered").count(), 1, "{text}");
    says(
        &bed,
        &["get", "flows", "svc/web", "-o", "wide"],
        &["SOURCE", "CLIENT", "LOCAL"],
    )?;
    says(&bed, &["get", "affinity", "svc/web"], &["REMAINING"])?;

    let held = bed
        .client()
        .connect(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    let pod = held.ask("who")?.name;
    says(
        &bed,
        &["get", "sockets", "svc/web"],
        &["connected", "BACKEND"],
    )?;
    let mut pods = one_node::web_pods(&bed.node);
    pods.retain(|of| of.pod != pod);
    bed.apply(&one_node::web(&bed.node).affinity(600).endpoints(pods))?;
    poll::until_true(CHANGE, "the pod has left", || {
        let sockets = super::items(&bed, &["sockets", "svc/web"])?;
        Ok(sockets.len() == 1 && sockets[0]["pod"].is_null())
    })?;
    says(&bed, &["get", "sockets", "svc/web"], &["connected", "POD"])?;

    says(&bed, &["status"], &["running"])?;
    bed.agent.take().expect("it was started").kill()?;
    says(
        &bed,
        &["status"],
        &["not running; attached programs keep working"],
    )
}
