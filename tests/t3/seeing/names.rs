//! Names of Services, ports, pods, nodes and zones.

use anyhow::{Result, ensure};
use serde_json::Value;
use testbed::{
    agent::{self, CHANGE, Start},
    one_node::{self, NODE_PORT, PORT, TARGET, WEB_VIP},
    poll,
    probe::{Family, Kind},
};

use super::{bed, items};

fn named(item: &Value) -> bool {
    item["service"]["namespace"] == "default"
        && item["service"]["name"] == "web"
        && item["service"]["port"] != ""
}

fn placed(item: &Value, node: &str) -> bool {
    let pod = item["pod"].as_str().unwrap_or_default();
    pod.starts_with("default/web-") && item["node"] == node && item["zone"] == "zone-a"
}

#[test]
fn every_list_has_names_also_when_the_agent_is_dead() -> Result<()> {
    let mut bed = bed()?;
    let node = bed.node.name().to_owned();
    let _held = bed
        .client()
        .connect(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    let outside = bed.lan.client(1)?;
    let _flow = outside.connect(Kind::Tcp, bed.node.addr().at(Family::V4, NODE_PORT))?;
    bed.agent.take().expect("it was started").kill()?;

    let services = items(&bed, &["services", "web"])?;
    // TCP and UDP of both families: cluster IP, load balancer and node port.
    ensure!(services.len() == 12, "{services:#?}");
    for frontend in &services {
        ensure!(named(frontend), "{frontend:#}");
        let backends = frontend["backends"].as_array().expect("a list");
        ensure!(backends.len() == 3 && backends.iter().all(|b| placed(b, &node)));
    }
    for what in ["flows", "sockets", "affinity"] {
        let all = items(&bed, &[what, "svc/web"])?;
        ensure!(!all.is_empty(), "{what}: nothing");
        ensure!(
            all.iter().all(|i| named(i) && placed(i, &node)),
            "{what}: {all:#?}"
        );
        let table = agent::verb(&bed.node, &["get", what, "-o", "wide"])?;
        ensure!(
            table.contains("default/web:") && table.contains("default/web-"),
            "{table}"
        );
    }
    let table = agent::verb(&bed.node, &["get", "services"])?;
    for words in [
        "default/web:",
        "default/web-1",
        node.as_str(),
        "zone-a",
        "default/other",
    ] {
        ensure!(table.contains(words), "no {words} in\n{table}");
    }
    Ok(())
}

#[test]
fn names_follow_changes_and_what_nobody_knows_is_a_dash() -> Result<()> {
    let mut bed = bed()?;
    // A pod is replaced by another one with the same address: nothing changes in the maps.
    let mut pods = one_node::web_pods(&bed.node);
    pods[0].pod = "web-9".to_owned();
    let web = one_node::web(&bed.node).endpoints(pods);
    bed.apply(&web)?;
    poll::until_true(CHANGE, "the new name is shown", || {
        let all = items(&bed, &["backends"])?;
        // Without zones, and `other` has the address under its former name: nobody knows which.
        let mut names = all.iter().map(|b| &b["pod"]);
        Ok(names.any(|pod| pod == "default/web-9"))
    })?;
    bed.node.remove_manifest("web.yaml")?;
    poll::until_true(CHANGE, "the service goes", || {
        Ok(agent::verb(&bed.node, &["get", "services", "web"]).is_err())
    })?;

    // Without the names everything else is shown.
    bed.agent.take().expect("it was started").stop()?;
    std::fs::remove_dir_all(bed.node.files().join("state/names"))?;
    let all = items(&bed, &["services"])?;
    ensure!(!all.is_empty() && all.iter().all(|f| f["service"].is_null()));
    let table = agent::verb(&bed.node, &["get", "services"])?;
    let line = table.lines().nth(2).unwrap_or_default();
    ensure!(line.split_whitespace().nth(3) == Some("-"), "{table}");
    bed.agent = Some(Start::new().on(&bed.node)?);
    poll::until_true(CHANGE, "a new agent writes them again", || {
        let all = items(&bed, &["services"])?;
        Ok(all.iter().all(|f| f["service"]["name"] == "other"))
    })
}

/// What is stopped in an orderly way has written everything, however short before the change was.
#[test]
fn the_last_change_is_kept_at_the_end() -> Result<()> {
    let mut bed = bed()?;
    for n in 72..76u8 {
        let pods = one_node::web_pods(&bed.node);
        let service = one_node::behind(&format!("late-{n}"), testbed::addr::vip(n), &pods);
        bed.apply(&service.port(PORT, TARGET))?;
        poll::until_true(CHANGE, "it is programmed", || {
            let place = testbed::addr::vip(n).at(Family::V4, PORT).to_string();
            Ok(agent::verb(&bed.node, &["get", "services", &place]).is_ok())
        })?;
    }
    bed.agent.take().expect("it was started").stop()?;
    for n in 72..76u8 {
        let name = format!("late-{n}");
        ensure!(
            items(&bed, &["services", &name])?.len() == 4,
            "{name} has no name"
        );
    }
    Ok(())
}

#[test]
fn cleanup_leaves_no_names() -> Result<()> {
    let mut bed = bed()?;
    let names = bed.node.files().join("state/names");
    ensure!(names.exists());
    bed.agent.take().expect("it was started").stop()?;
    agent::verb(&bed.node, &["cleanup"])?;
    ensure!(!names.exists() && !bed.node.bpf_dir().exists());
    Ok(())
}
