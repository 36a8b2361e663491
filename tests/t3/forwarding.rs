//! `lb-agent.io/forwarding: snat`: every backend sees the node where a packet arrived, on that node
//! and on others.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr::{self, Both},
    agent::{self, CHANGE, Start},
    agent_output,
    lan::Offloads,
    manifest::Service,
    matrix::{Case, each, hooks, matrix},
    node::PodNetwork,
    one_node::{PORT, TARGET},
    poll,
    probe::{Answer, Family, Kind},
    two_nodes::{BOTH_PORT, LOCAL, REMOTE, TwoNodes},
};

const ANNOTATION: &str = "lb-agent.io/forwarding";
const SNAT_PORT: u16 = 30_004;
const SNAT_VIP: Both = addr::vip(4);

/// Pods of both nodes.
fn service(bed: &TwoNodes, forwarding: &str) -> Service {
    Service::new("seen", SNAT_VIP)
        .annotate(ANNOTATION, forwarding)
        .node_port(PORT, TARGET, SNAT_PORT)
        .endpoints([bed.endpoints(&bed.near), bed.endpoints(&bed.far)].concat())
}

/// Asks until each of the four pods has answered.
fn ask_all(bed: &TwoNodes, kind: Kind, family: Family, port: u16) -> Result<Vec<Answer>> {
    let to = bed.near.addr().at(family, port);
    let wanted: BTreeSet<&str> = LOCAL.into_iter().chain(REMOTE).collect();
    let mut answers = Vec::new();
    poll::until_true(CHANGE, &format!("all answer at {to}"), || {
        for _ in 0..16 {
            answers.push(bed.client.ask(kind, to)?);
        }
        let names: BTreeSet<&str> = answers.iter().map(|a: &Answer| a.name.as_str()).collect();
        Ok(names == wanted)
    })?;
    Ok(answers)
}

/// Whom the pods of the near node saw, and those of the far one.
fn seen(answers: &[Answer]) -> [BTreeSet<IpAddr>; 2] {
    let of = |names: [&str; 2]| {
        let ours = answers.iter().filter(|a| names.contains(&a.name.as_str()));
        ours.map(|a| a.client.ip()).collect()
    };
    [of(LOCAL), of(REMOTE)]
}

/// The addresses of the near node itself.
fn is_near(bed: &TwoNodes, ip: IpAddr) -> bool {
    bed.near.addr().ips().contains(&ip)
        || [addr::pod(1, 0), addr::pod(1, 1)]
            .iter()
            .any(|a| a.ips().contains(&ip))
}

fn starts_serving(bed: &TwoNodes) -> Result<()> {
    let to = bed.near.addr().at(Family::V4, SNAT_PORT);
    poll::until_true(CHANGE, "the Service is programmed", || {
        Ok(bed.client.ask(Kind::Tcp, to).is_ok())
    })
}

#[test]
fn with_snat_each_backend_sees_the_node_and_with_auto_those_here_see_the_client() -> Result<()> {
    for network in each([PodNetwork::Routed, PodNetwork::Flannel]) {
        for hook in hooks() {
            let bed = TwoNodes::new(network, Offloads::On, hook.start())?;
            bed.apply(&service(&bed, "snat"))?;
            starts_serving(&bed)?;
            for Case { family, kind } in matrix() {
                let what = format!("{network:?} {hook:?} {family:?} {kind:?}");
                let client = bed.client.addr.ip(family);
                let [here, there] = seen(&ask_all(&bed, kind, family, SNAT_PORT)?);
                ensure!(
                    here.iter().all(|ip| is_near(&bed, *ip)),
                    "{what}: pods here saw {here:?}"
                );
                let towards_far = bed.source_towards_far().ip(family);
                ensure!(
                    there == [towards_far].into(),
                    "{what}: pods there saw {there:?}"
                );
                let [here, there] = seen(&ask_all(&bed, kind, family, BOTH_PORT)?);
                ensure!(here == [client].into(), "{what}: pods here saw {here:?}");
                ensure!(
                    there == [towards_far].into(),
                    "{what}: pods there saw {there:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn an_open_connection_keeps_its_client_whatever_its_service_asks_for_later() -> Result<()> {
    let mut bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, Start::new())?;
    let only_here = |bed: &TwoNodes, forwarding: &str| {
        Service::new("seen", SNAT_VIP)
            .annotate(ANNOTATION, forwarding)
            .node_port(PORT, TARGET, SNAT_PORT)
            .endpoints(bed.endpoints(&bed.near))
    };
    let to = bed.near.addr().at(Family::V4, SNAT_PORT);
    let client = bed.client.addr.ip(Family::V4);
    bed.apply(&only_here(&bed, "auto"))?;
    starts_serving(&bed)?;
    let before = bed.client.connect(Kind::Tcp, to)?;
    ensure!(before.ask("before")?.client.ip() == client);

    bed.apply(&only_here(&bed, "snat"))?;
    poll::until_true(CHANGE, "new connections are masqueraded", || {
        Ok(bed.client.ask(Kind::Tcp, to)?.client.ip() != client)
    })?;
    let during = bed.client.connect(Kind::Tcp, to)?;
    let node = during.ask("during")?.client;
    ensure!(is_near(&bed, node.ip()), "{node}");
    ensure!(before.ask("still")?.client.ip() == client);

    // The next agent finds the rule and the entries.
    bed.agents.remove(0).kill()?;
    ensure!(during.ask("without an agent")?.client == node);
    bed.agents.insert(0, Start::new().on(&bed.near)?);
    ensure!(during.ask("after a restart")?.client == node);

    bed.apply(&only_here(&bed, "auto"))?;
    poll::until_true(CHANGE, "new connections show the client", || {
        Ok(bed.client.ask(Kind::Tcp, to)?.client.ip() == client)
    })?;
    ensure!(during.ask("still masqueraded")?.client == node);
    ensure!(before.ask("and still not")?.client.ip() == client);
    Ok(())
}

#[test]
fn a_rule_that_somebody_removed_is_put_back_and_cleanup_leaves_none() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("config.conf");
    let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\niptables: {syncPeriod: 1s}\n";
    std::fs::write(&file, text)?;
    let file = file.to_str().context("a path of letters")?;
    // By the flag, so that no annotation is needed.
    let start = Start::new().args(&["--config", file, "--forwarding", "snat"]);
    let mut bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, start)?;
    let tables = |bed: &TwoNodes| bed.near.run(&["nft", "list", "tables"]);
    let ours = "table inet lb-agent\n";
    ensure!(tables(&bed)?.contains(ours), "{}", tables(&bed)?);
    bed.near
        .run(&["nft", "delete", "table", "inet", "lb-agent"])?;
    poll::until_true(CHANGE, "the rule is back", || {
        Ok(tables(&bed)?.contains(ours))
    })?;
    // Likewise where the table stays, and only what is in it is another.
    let rules = || bed.near.run(&["nft", "list", "table", "inet", "lb-agent"]);
    let made = rules()?;
    let masquerades = |op: &str, mark: u32| {
        format!(
            r#"{{"match": {{"op": "{op}", "left": {{"&": [{{"meta": {{"key": "mark"}}}}, {mark}]}}, "right": 0}}}}, {{"masquerade": null}}"#
        )
    };
    // In JSON, since the chain's name is a word of nft's own.
    let flush = r#"{"flush": {"table": {"family": "inet", "name": "lb-agent"}}}"#;
    let rule = |verb: &str, expressions: &str| {
        format!(
            r#"{{"{verb}": {{"rule": {{"family": "inet", "table": "lb-agent", "chain": "masquerade", "expr": [{expressions}]}}}}}}"#
        )
    };
    let changes = [
        rule("insert", r#"{"accept": null}"#),
        format!("{flush}, {}", rule("add", &masquerades("!=", 0x8000))),
        format!("{flush}, {}", rule("add", &masquerades("==", 0x4000))),
        flush.to_owned(),
    ];
    for change in changes {
        let text = format!(r#"{{"nftables": [{change}]}}"#);
        bed.near.run(&["nft", "-j", &text])?;
        poll::until_true(CHANGE, &format!("it is as before: {change}"), || {
            Ok(rules()? == made)
        })?;
    }
    let to = bed.near.addr().at(Family::V4, BOTH_PORT);
    for _ in 0..16 {
        let saw = bed.client.ask(Kind::Tcp, to)?.client.ip();
        ensure!(is_near(&bed, saw), "a pod saw {saw}");
    }
    let metric = agent_output::metric(&bed.near, "lb_agent_masquerade_problems")?;
    ensure!(metric < 0.5, "{metric} problems");
    let log = bed.agents[0].log()?;
    // As often as it was changed: what is as it was made is left alone.
    let times = log.matches("putting it back").count();
    ensure!(times == 5, "{times}: {log}");

    bed.agents.remove(0).stop()?;
    ensure!(
        tables(&bed)?.contains(ours),
        "an agent that stops leaves it"
    );
    agent::verb_with_state(&bed.near, &["cleanup"])?;
    ensure!(!tables(&bed)?.contains(ours), "cleanup leaves it");
    Ok(())
}

#[test]
fn a_client_over_lb0_is_masqueraded_too() -> Result<()> {
    let start = Start::new().args(&["--socket-lb", "off"]);
    let mut bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, start)?;
    bed.apply(&service(&bed, "snat"))?;
    bed.near.add_pod("client")?;
    let pod = bed.near.pod(LOCAL.len());
    for Case { family, kind } in matrix() {
        let to = SNAT_VIP.at(family, PORT);
        poll::until_true(CHANGE, "the cluster IP answers", || {
            Ok(pod.ask(kind, to).is_ok())
        })?;
        for _ in 0..24 {
            let saw = pod.ask(kind, to)?.client.ip();
            ensure!(is_near(&bed, saw), "{family:?} {kind:?}: a pod saw {saw}");
        }
    }
    Ok(())
}
