//! `get`: what is listed, by names and addresses, in every form.

use anyhow::{Context as _, Result, ensure};
use testbed::{
    agent::{self, CHANGE},
    one_node::{self, OneNode, PORT, TARGET, WEB_VIP},
    poll,
    probe::{Family, Kind},
    process::Process,
};

use super::{bed, items};

fn count(bed: &OneNode, words: &[&str]) -> Result<usize> {
    Ok(items(bed, words)?.len())
}

#[test]
fn lists_are_narrowed_by_names_addresses_namespaces_and_labels() -> Result<()> {
    let bed = bed()?;
    let vip = WEB_VIP.at(Family::V4, PORT).to_string();
    let all = count(&bed, &["services"])?;
    for (words, expected) in [
        (&["services", "-A"][..], all),
        (&["svc", "web"], 12),
        (&["services", "svc/default/web"], 12),
        (&["services", "web", "other"], all),
        // TCP and UDP.
        (&["services", &vip], 2),
        (&["services", &WEB_VIP.v6.to_string()], 2),
        (&["services", "*:30080"], 2),
        (&["services", "-n", "default"], all),
        (&["services", "-n", "elsewhere"], 0),
        (&["services", "-l", "app=web"], 12),
        (&["services", "-l", "app in (web),tier!=back"], 12),
        (&["services", "-l", "!app"], all - 12),
        (&["backends", "pod/web-2"], 4),
        (&["backends", "-l", "app=db"], 0),
    ] {
        assert_eq!(count(&bed, words)?, expected, "{words:?}");
    }
    for (words, reason) in [
        (&["services", "nobody"][..], "nothing is found for nobody"),
        (&["services", "-l", "app in web"], "app in web"),
        (&["services", "--sort-by", "age"], "no such field"),
    ] {
        let error = agent::verb(&bed.node, &[&["get"], words].concat());
        let error = format!("{:#}", error.expect_err("it is wrong"));
        ensure!(error.contains(reason), "{words:?}: {error}");
    }
    Ok(())
}

#[test]
fn what_is_there_is_listed_beside_what_is_not() -> Result<()> {
    let bed = bed()?;
    let binary = agent::binary()?.display().to_string();
    let dir = bed.node.bpf_dir().display().to_string();
    let get = |names: &[&str]| {
        let words = [&binary, "get", "services", "-o", "name", "--bpf-dir", &dir];
        bed.node.output(&[&words[..], names].concat())
    };
    let some = get(&["nobody", "web", "svc/noone"])?;
    assert_eq!(some.stdout, "service/default/web\n");
    assert_eq!(
        some.stderr,
        "lb-agent: nothing is found for nobody, svc/noone\n"
    );
    assert_eq!(some.status.code(), Some(1));
    let none = get(&["nobody"])?;
    assert_eq!((none.stdout.as_str(), none.status.code()), ("", Some(1)));
    Ok(())
}

#[test]
fn every_form_of_output_says_the_same() -> Result<()> {
    let bed = bed()?;
    let verb = |words: &[&str]| agent::verb(&bed.node, &[&["get"], words].concat());
    let json = super::get(&bed, &["services"])?;
    let yaml: serde_json::Value = serde_saphyr::from_str(&verb(&["services", "-o", "yaml"])?)?;
    assert_eq!(json, yaml);
    let names = verb(&["services", "-o", "name"])?;
    ensure!(
        names.lines().any(|name| name == "service/default/web"),
        "{names}"
    );
    // A name leads back to its Service.
    for name in names.lines() {
        ensure!(count(&bed, &["services", name])? > 0, "{name}");
    }
    for what in [
        "services", "backends", "flows", "sockets", "affinity", "events",
    ] {
        let (with, without) = (verb(&[what])?, verb(&[what, "--no-headers"])?);
        let head = if what == "services" { 2 } else { 1 };
        assert_eq!(
            with.lines().count(),
            without.lines().count() + head,
            "{with}"
        );
    }
    let _held = (0..5)
        .map(|_| {
            bed.client()
                .connect(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let sorted = items(&bed, &["backends", "--sort-by", ".activeConnections"])?;
    let counts = sorted.iter().map(|b| b["activeConnections"].as_u64());
    let counts: Vec<u64> = counts.collect::<Option<_>>().context("a number each")?;
    ensure!(counts.is_sorted() && counts.last() > Some(&0), "{counts:?}");
    Ok(())
}

#[test]
fn sockets_and_sticky_clients_are_listed() -> Result<()> {
    let bed = bed()?;
    let to = WEB_VIP.at(Family::V4, PORT);
    assert_eq!(count(&bed, &["sockets"])?, 0);
    let held = bed.client().connect(Kind::Tcp, to)?;
    let pod = held.ask("who")?.name;
    let [socket] = &items(&bed, &["sockets", &to.to_string()])?[..] else {
        anyhow::bail!("not one socket")
    };
    assert_eq!(socket["frontend"], to.to_string());
    assert_eq!(socket["kind"], "connected");
    assert_eq!(socket["pod"], format!("default/{pod}"));
    let [sticky] = &items(&bed, &["affinity"])?[..] else {
        anyhow::bail!("not one client")
    };
    assert_eq!(sticky["pod"], socket["pod"]);
    ensure!(
        sticky["client"]
            .as_str()
            .is_some_and(|c| c == format!("netns:{}", socket["netns"]))
    );
    ensure!(
        sticky["remainingSeconds"]
            .as_u64()
            .is_some_and(|s| (500..=600).contains(&s))
    );
    drop(held);
    poll::until_true(CHANGE, "a closed socket is gone", || {
        Ok(count(&bed, &["sockets"])? == 0)
    })
}

#[test]
fn events_are_kept_without_an_api_server() -> Result<()> {
    let bed = bed()?;
    let web = one_node::web(&bed.node).annotate("lb-agent.io/colour", "blue");
    bed.apply(&web)?;
    poll::until_true(CHANGE, "the Event is listed", || {
        let all = items(&bed, &["events"])?;
        Ok(all.iter().any(|e| {
            e["reason"] == "PartiallyProgrammed"
                && e["namespace"] == "default"
                && e["name"] == "web"
                && e["message"]
                    .as_str()
                    .is_some_and(|m| m.contains("lb-agent.io/colour"))
        }))
    })?;
    ensure!(count(&bed, &["events", "svc/web"])? > 0);
    Ok(())
}

#[test]
fn a_watch_shows_what_changes() -> Result<()> {
    let bed = bed()?;
    let (binary, dir) = (
        agent::binary()?.display().to_string(),
        bed.node.bpf_dir().display().to_string(),
    );
    let words = [
        &binary,
        "get",
        "services",
        "web",
        "-w",
        "-o",
        "json",
        "--bpf-dir",
        &dir,
    ];
    let mut watch = Process::start(
        bed.node.sandbox(),
        &words,
        &bed.node.files().join("watch.log"),
    )?;
    poll::until_true(CHANGE, "everything is shown first", || {
        Ok(watch.said()?.ends_with("}\n"))
    })?;
    let first = watch.said()?;
    let pods = one_node::web_pods(&bed.node);
    bed.apply(&one_node::behind("third", testbed::addr::vip(73), &pods).port(PORT, TARGET))?;
    bed.apply(&one_node::web(&bed.node).endpoints(pods[..1].to_vec()))?;
    poll::until_true(CHANGE, "the change is shown", || {
        Ok(watch.said()?[first.len()..].contains("\"type\":\"MODIFIED\""))
    })?;
    ensure!(watch.ended()?.is_none(), "it goes on");
    let said = watch.said()?;
    for line in said[first.len()..].lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        assert_eq!(event["object"]["service"]["name"], "web", "{line}");
    }
    Ok(())
}
