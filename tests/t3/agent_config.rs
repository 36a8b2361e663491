//! The agent with a file of kube-proxy's configuration: what is asked for is done, flags win, and
//! the agent audits its maps every `syncPeriod` and repairs what another process has changed.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::{
    addr,
    agent::{self, CHANGE, HEALTH, METRICS, Start},
    agent_output,
    one_node::{self, OneNode, PORT, TARGET, WEB_VIP},
    poll,
    probe::{Family, Kind},
};

const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

/// A folder with the file; the agent reads it once, when it starts.
fn file(body: &str) -> Result<(tempfile::TempDir, String)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("config.conf");
    fs::write(&path, format!("{HEAD}{body}"))?;
    let path = path.to_str().context("a path of letters")?.to_owned();
    Ok((dir, path))
}

/// A bed whose agent has read this.
fn one_node(body: &str) -> Result<OneNode> {
    let (_dir, path) = file(body)?;
    // Arrays that are quickly read.
    let small = "lb_pools=64,lb_slots=256,lb_backends=64";
    let start = Start::new().args(&["--config", &path, "--map-capacity", small]);
    OneNode::with(start, |node| vec![one_node::web(node)])
}

/// The elements of a map as `bpftool map update` wants them, key and value.
fn elements(bed: &OneNode, map: &str) -> Result<Vec<(Vec<String>, Vec<String>)>> {
    let pin = bed.node.map_pin(map);
    let dump = bed
        .node
        .run(&["bpftool", "-j", "map", "dump", "pinned", &pin])?;
    let dump: Vec<Value> = serde_json::from_str(&dump).context("read bpftool's JSON")?;
    let bytes = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(|byte| byte.as_str().map(str::to_owned))
            .collect()
    };
    Ok(dump
        .iter()
        .map(|element| (bytes(&element["key"]), bytes(&element["value"])))
        .collect())
}

/// `bpftool map VERB pinned PIN key …`, as another process would change the maps.
fn bpftool(bed: &OneNode, verb: &str, map: &str, key: &[String], value: &[String]) -> Result<()> {
    let pin = bed.node.map_pin(map);
    let mut words = vec!["bpftool", "map", verb, "pinned", &pin, "key"];
    words.extend(key.iter().map(String::as_str));
    if !value.is_empty() {
        words.push("value");
        words.extend(value.iter().map(String::as_str));
    }
    bed.node.run(&words).map(drop)
}

fn repaired(bed: &OneNode, map: &str) -> Result<f64> {
    let name = format!("lb_agent_map_repaired_entries_total{{map=\"{map}\"}}");
    agent_output::metric(&bed.node, &name)
}

#[test]
fn a_map_that_somebody_changed_is_repaired_and_counted() -> Result<()> {
    let bed = one_node("iptables: {syncPeriod: 1s}\n")?;
    let pods = one_node::web_pods(&bed.node);
    let guarded = one_node::behind("guarded", addr::vip(62), &pods)
        .port(PORT, TARGET)
        .ingress(addr::lb(62))
        .spec("loadBalancerSourceRanges: [10.0.0.0/8, fd66::/16]");
    bed.apply(&guarded)?;
    poll::until(CHANGE, "source ranges are written", || {
        Ok((elements(&bed, "lb_srcranges")?.len() > 1).then_some(()))
    })?;
    let to = WEB_VIP.at(Family::V4, PORT);
    bed.client().ask(Kind::Tcp, to)?;
    let maps = [
        "lb_frontends",
        "lb_nodeports",
        "lb_nodeaddrs",
        "lb_members",
        "lb_srcranges",
        "lb_pools",
        "lb_slots",
        "lb_backends",
    ];
    for map in maps {
        assert!(
            repaired(&bed, map)? < 0.5,
            "{map}: no process has changed it"
        );
        let before = elements(&bed, map)?;
        let used = |(_, value): &&(Vec<String>, Vec<String>)| value.iter().any(|b| b != "0x00");
        let (key, value) = before.iter().find(used).context("an empty map")?;
        match map {
            // An array has no element less: it is overwritten.
            "lb_pools" | "lb_slots" | "lb_backends" => {
                let zeros = vec!["0x00".to_owned(); value.len()];
                bpftool(&bed, "update", map, key, &zeros)?;
            }
            _ => bpftool(&bed, "delete", map, key, &[])?,
        }
        poll::until_true(CHANGE, &format!("{map} is repaired"), || {
            Ok(repaired(&bed, map)? > 0.5)
        })?;
        let mut after = elements(&bed, map)?;
        let mut before = before;
        before.sort();
        after.sort();
        ensure!(before == after, "{map} is not as it was");
    }
    // One that is too many goes, and with it what it led to.
    let (mut key, value) = elements(&bed, "lb_frontends")?.remove(0);
    key[14] = "0x7b".to_owned();
    bpftool(&bed, "update", "lb_frontends", &key, &value)?;
    poll::until_true(CHANGE, "the stranger goes", || {
        Ok(repaired(&bed, "lb_frontends")? > 1.5)
    })?;
    ensure!(!elements(&bed, "lb_frontends")?.contains(&(key, value)));

    let known = repaired(&bed, "lb_frontends")?;
    // Without its bit an entry is passed over, which is as bad as if it were gone.
    for (key, value) in elements(&bed, "lb_known")? {
        if value.iter().any(|b| b != "0x00") {
            bpftool(
                &bed,
                "update",
                "lb_known",
                &key,
                &vec!["0x00".to_owned(); 8],
            )?;
        }
    }
    poll::until_true(CHANGE, "the bits are set again", || {
        Ok(bed.client().ask(Kind::Tcp, to).is_ok())
    })?;

    poll::until_true(CHANGE, "that they were missing is counted", || {
        Ok(repaired(&bed, "lb_frontends")? > known + 0.5)
    })?;
    bed.client().ask(Kind::Tcp, to)?;
    poll::until_true(CHANGE, "an audit finds nothing", || {
        let drift = agent_output::metrics(&bed.node)?;
        let mut drift = drift
            .lines()
            .filter(|line| line.starts_with("lb_agent_map_drift_entries{"));
        Ok(drift.all(|line| line.ends_with(" 0")))
    })?;
    let log = bed.agent.as_ref().expect("it was started").log()?;
    ensure!(log.contains("another process has changed this map"));
    ensure!(
        log.contains("lb_known"),
        "that its bits were missing is not told"
    );
    Ok(())
}

#[test]
fn the_file_is_followed_and_flags_win() -> Result<()> {
    let bed = one_node(
        "healthzBindAddress: 192.0.2.1:1\nmetricsBindAddress: 192.0.2.1:2\nhostnameOverride: another\n\
         oomScoreAdj: 321\nmode: ipvs\nipvs: {scheduler: rr, minSyncPeriod: 3s, strictARP: true}\nenableProfiling: true\n",
    )?;
    let running = bed.agent.as_ref().expect("it was started");
    let log = running.log()?;
    let warnings: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("--config: these fields"))
        .collect();
    let [warning] = warnings.as_slice() else {
        anyhow::bail!("not one warning: {warnings:?}");
    };
    for field in ["ipvs.strictARP", "enableProfiling"] {
        ensure!(warning.contains(field), "{field} is not in {warning}");
    }

    // The addresses and the name are those of the flags, which the bed gives; the rest is the
    // file's.
    let (status, page) = agent::http(&bed.node, METRICS, "/configz")?;
    let page: Value = serde_json::from_str(&page)?;
    assert_eq!(status, 200);
    assert_eq!(
        page["kubeproxy.config.k8s.io"]["hostnameOverride"],
        "another"
    );
    let ours = &page["lb-agent"];
    assert_eq!(ours["nodeName"], bed.node.name());
    assert_eq!(ours["healthBindAddress"], HEALTH);
    assert_eq!(ours["scheduler"], "rr");
    let mode = agent::http(&bed.node, METRICS, "/proxyMode")?;
    assert_eq!(mode, (200, "ebpf".to_owned()));
    let web = agent_output::frontend(&bed.node, "TCP", &WEB_VIP.v4.to_string(), PORT)?;
    assert_eq!(web.scheduler, "rr");
    let score = fs::read_to_string(
        Path::new("/proc")
            .join(running.pid().to_string())
            .join("oom_score_adj"),
    )?;
    assert_eq!(score.trim(), "321");

    // Two changes, one behind the other: the second waits for the end of the period.
    let all = one_node::web_pods(&bed.node);
    let seen = |n: usize| {
        poll::until(CHANGE, "the change is written", || {
            let web = agent_output::frontend(&bed.node, "TCP", &WEB_VIP.v4.to_string(), PORT)?;
            Ok((web.backends.len() == n).then(Instant::now))
        })
    };
    bed.apply(&one_node::web(&bed.node).endpoints(all[..1].to_vec()))?;
    let first = seen(1)?;
    bed.apply(&one_node::web(&bed.node).endpoints(all[..2].to_vec()))?;
    let second = seen(2)?;
    // The first was seen a little after it was written.
    ensure!(
        second - first > Duration::from_secs(2),
        "only {:?} between two syncs",
        second - first
    );
    Ok(())
}

#[test]
fn probes_are_counted_by_their_answers() -> Result<()> {
    let bed = OneNode::new()?;
    let count = |path: &str, code| {
        let name = format!("kubeproxy_proxy_{path}_total{{code=\"{code}\"}}");
        agent_output::metric(&bed.node, &name)
    };
    for path in ["healthz", "livez"] {
        let before = count(path, 200)?;
        for _ in 0..3 {
            let (status, _) = agent::http(&bed.node, HEALTH, &format!("/{path}"))?;
            assert_eq!(status, 200);
        }
        assert!((count(path, 200)? - before - 3.0).abs() < 0.5);
        assert!(count(path, 503)? < 0.5);
    }
    Ok(())
}

#[test]
fn an_address_that_is_taken_ends_the_agent_only_if_that_is_asked_for() -> Result<()> {
    let mut bed = OneNode::new()?;
    bed.agent.take().expect("it was started").stop()?;
    let taken = bed.node.block(|| Ok(TcpListener::bind(METRICS)?))?;
    for (hard, ends) in [(false, false), (true, true)] {
        let (_dir, path) = file(&format!("bindAddressHardFail: {hard}\n"))?;
        let mut agent = Start::new()
            .args(&["--config", &path])
            .without_waiting(&bed.node)?;
        if ends {
            ensure!(!agent.wait_end()?.success());
            let log = agent.log()?;
            ensure!(log.contains("bindAddressHardFail"), "{log}");
        } else {
            agent.wait_ready(&bed.node)?;
            ensure!(agent.log()?.contains("cannot bind"));
            agent.stop()?;
        }
    }
    drop(taken);
    Ok(())
}

#[test]
fn a_file_that_is_wrong_is_refused_by_name() -> Result<()> {
    let mut bed = OneNode::new()?;
    bed.agent.take().expect("it was started").stop()?;
    let (_dir, path) = file("iptables: {syncPeriodd: 1s}\n")?;
    let mut agent = Start::new()
        .args(&["--config", &path])
        .without_waiting(&bed.node)?;
    ensure!(!agent.wait_end()?.success());
    let log = agent.log()?;
    ensure!(log.contains("iptables.syncPeriodd: no such field"), "{log}");
    Ok(())
}

/// As the most copied hand-made files have them: what kube-proxy only warns of does not end the
/// agent, unless that is asked for.
#[test]
fn strangers_and_other_documents_are_told_and_refused_only_by_config_strict() -> Result<()> {
    let mut bed = OneNode::new()?;
    bed.agent.take().expect("it was started").stop()?;
    let (_dir, path) = file(
        "mode: ipvs\nipvs:\n  masqueradeAll: true\n  scheduler: sh\nstrictARP: true\n---\nkind: KubeletConfiguration\n",
    )?;
    let agent = Start::new().args(&["--config", &path]).on(&bed.node)?;
    let log = agent.log()?;
    for said in [
        "line 5: ipvs.masqueradeAll: kube-proxy has no such field there, so it has no effect: its place is iptables.masqueradeAll",
        "line 7: strictARP: kube-proxy has no such field there, so it has no effect: its place is ipvs.strictARP",
        "line 8: this document (KubeletConfiguration) is not read",
    ] {
        ensure!(log.matches(said).count() == 1, "{said}: {log}");
    }
    agent.stop()?;
    let mut strict = Start::new()
        .args(&["--config", &path, "--config-strict"])
        .without_waiting(&bed.node)?;
    ensure!(!strict.wait_end()?.success());
    let log = strict.log()?;
    ensure!(
        log.contains("refused by --config-strict: line 8: this document"),
        "{log}"
    );
    Ok(())
}
