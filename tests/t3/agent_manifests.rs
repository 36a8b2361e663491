//! The agent with a folder of manifests: edits are followed, bad files named, and what is shown is
//! what the kernel holds.

use std::fs;

use anyhow::{Result, ensure};
use testbed::{
    addr,
    agent::{self, CHANGE, Start},
    agent_output::{self, Frontend},
    one_node::{self, NODE_PORT, OneNode, PORT, TARGET, WEB_LB, WEB_VIP},
    poll,
    probe::{Family, Kind},
};

fn backends(bed: &OneNode, address: &str, port: u16) -> Result<Vec<String>> {
    let frontends = agent_output::frontends(&bed.node)?;
    let found = frontends
        .into_iter()
        .find(|f| (f.protocol.as_str(), f.address.as_str(), f.port) == ("TCP", address, port));
    Ok(found.map_or_else(Vec::new, |frontend| {
        frontend
            .backends
            .into_iter()
            .map(|backend| backend.address)
            .collect()
    }))
}

#[test]
fn edits_are_followed() -> Result<()> {
    let bed = OneNode::with(Start::new(), |_| Vec::new())?;
    let (vip, to) = (WEB_VIP.v4.to_string(), WEB_VIP.at(Family::V4, PORT));
    assert!(agent_output::frontends(&bed.node)?.is_empty());
    let all = one_node::web_pods(&bed.node);
    let ask = || Ok(bed.client().ask(Kind::Tcp, to).ok());

    bed.apply(&one_node::web(&bed.node))?;
    poll::until(CHANGE, "a new service answers", ask)?;
    for endpoints in [&all[..1], &all[1..], &all[..]] {
        bed.apply(&one_node::web(&bed.node).endpoints(endpoints.to_vec()))?;
        let expected: Vec<_> = endpoints
            .iter()
            .map(|endpoint| endpoint.addr.v4.to_string())
            .collect();
        poll::until_true(CHANGE, "its endpoints change", || {
            Ok(backends(&bed, &vip, PORT)? == expected)
        })?;
        let names: Vec<_> = endpoints
            .iter()
            .map(|endpoint| endpoint.pod.as_str())
            .collect();
        for _ in 0..10 {
            let name = bed.client().ask(Kind::Tcp, to)?.name;
            ensure!(
                names.contains(&name.as_str()),
                "{name} answered instead of {names:?}"
            );
        }
    }
    // None left: refused, which is not the same as gone.
    bed.apply(&one_node::web(&bed.node).endpoints([]))?;
    poll::until_true(CHANGE, "its endpoints go", || {
        Ok(backends(&bed, &vip, PORT)?.is_empty())
    })?;
    let refused = bed
        .client()
        .connect(Kind::Tcp, to)
        .expect_err("there is no backend");
    assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));

    bed.node.remove_manifest("web.yaml")?;
    poll::until_true(CHANGE, "the service goes", || {
        Ok(agent_output::frontends(&bed.node)?.is_empty())
    })
}

#[test]
fn files_may_be_written_slowly_renamed_and_hold_many_objects() -> Result<()> {
    let bed = OneNode::with(Start::new(), |_| Vec::new())?;
    let pods = one_node::web_pods(&bed.node);
    let texts: Vec<String> = (70..80)
        .map(|n| {
            one_node::behind(&format!("s{n}"), addr::vip(n), &pods)
                .port(PORT, TARGET)
                .yaml()
        })
        .collect();
    // In place, in pieces, as an editor or a `>` of the shell writes it.
    let path = bed.node.manifests().join("many.yml");
    let whole = texts.join("---\n");
    let (first, second) = whole.split_at(whole.len() / 2);
    fs::write(&path, first)?;
    fs::write(&path, [first, second].concat())?;
    poll::until_true(CHANGE, "ten services are there", || {
        // TCP and UDP of both families.
        Ok(agent_output::frontends(&bed.node)?.len() == 40)
    })?;
    // Its new name makes no difference, and is no moment without services.
    let tally = bed.client().hammer(testbed::probe::HammerPlan {
        kind: Kind::Tcp,
        connected: true,
        to: addr::vip(75).at(Family::V4, PORT),
        allowed: Vec::new(),
    })?;
    fs::rename(&path, bed.node.manifests().join("renamed.yaml"))?;
    bed.apply(&one_node::web(&bed.node))?;
    poll::until(CHANGE, "what came after is there", || {
        Ok(bed
            .client()
            .ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))
            .ok())
    })?;
    let tally = tally.stop()?;
    ensure!(tally.failures.is_empty(), "{tally:?}");
    Ok(())
}

#[test]
fn a_bad_file_is_named_and_the_rest_stands() -> Result<()> {
    let bed = OneNode::new()?;
    let agent = bed.agent.as_ref().expect("it was started");
    let (vip, all) = (WEB_VIP.v4.to_string(), one_node::web_pods(&bed.node));
    bed.node.write_manifest(
        "broken.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: [\n",
    )?;
    poll::until_true(CHANGE, "the bad file is named", || {
        Ok(agent.log()?.contains("broken.yaml"))
    })?;
    // Also one whose second document is good, or whose kind is not ours.
    bed.node.write_manifest(
        "pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n",
    )?;
    bed.apply(&one_node::web(&bed.node).endpoints(all[..2].to_vec()))?;
    poll::until_true(CHANGE, "other files are followed still", || {
        Ok(backends(&bed, &vip, PORT)?.len() == 2)
    })?;
    poll::until_true(CHANGE, "the bad file is counted", || {
        Ok((agent_output::metric(&bed.node, "lb_agent_bad_manifests")? - 1.0).abs() < 0.5)
    })?;
    let good = one_node::behind("late", addr::vip(71), &all).port(PORT, TARGET);
    bed.node.write_manifest("broken.yaml", &good.yaml())?;
    poll::until(CHANGE, "the file is good now", || {
        Ok(bed
            .client()
            .ask(Kind::Tcp, addr::vip(71).at(Family::V4, PORT))
            .ok())
    })?;
    assert!(agent_output::metric(&bed.node, "lb_agent_bad_manifests")? < 0.5);
    // A good file that goes bad keeps what it said last.
    bed.node.write_manifest("web.yaml", "kind: [")?;
    poll::until_true(CHANGE, "it is named too", || {
        Ok(agent.log()?.contains("web.yaml"))
    })?;
    bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    Ok(())
}

#[test]
fn a_file_that_is_bad_at_the_start_costs_nothing_that_stands() -> Result<()> {
    let mut bed = OneNode::new()?;
    let before = agent_output::frontends(&bed.node)?;
    bed.agent.take().expect("it was started").stop()?;
    bed.node.write_manifest("web.yaml", "kind: [")?;
    let agent = Start::new().without_waiting(&bed.node)?;
    poll::until_true(CHANGE, "it says what it does not do", || {
        Ok(agent.log()?.contains("a file cannot be read at the start"))
    })?;
    // Other files are followed meanwhile, which also shows that it has written since.
    let all = one_node::web_pods(&bed.node);
    let other = one_node::behind("other", addr::vip(72), &all).port(PORT, TARGET);
    bed.apply(&other)?;
    for address in [addr::vip(72), WEB_VIP] {
        poll::until(CHANGE, "it answers", || {
            Ok(bed
                .client()
                .ask(Kind::Tcp, address.at(Family::V4, PORT))
                .ok())
        })?;
    }
    let now = agent_output::frontends(&bed.node)?;
    let now = without_counts(now);
    for frontend in without_counts(before) {
        assert!(now.contains(&frontend), "{frontend:?} is not in {now:?}");
    }
    bed.agent = Some(agent);
    // Without the file, what it held goes.
    bed.node.remove_manifest("web.yaml")?;
    poll::until_true(CHANGE, "the service is gone", || {
        let left = agent_output::frontends(&bed.node)?;
        let gone = WEB_VIP.v4.to_string();
        Ok(left.iter().all(|frontend| frontend.address != gone))
    })
}

/// What stands whoever connects meanwhile.
fn without_counts(mut frontends: Vec<Frontend>) -> Vec<Frontend> {
    for backend in frontends.iter_mut().flat_map(|one| &mut one.backends) {
        backend.active_connections = 0;
        backend.inactive_connections = 0;
    }
    frontends
}

#[test]
fn services_are_shown_as_ipvsadm_does_and_without_an_agent() -> Result<()> {
    let mut bed = OneNode::new()?;
    let held = bed
        .client()
        .connect(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    let name = held.ask("hello")?.name;
    bed.agent.take().expect("it was started").kill()?;
    let table = agent::verb(&bed.node, &["get", "services"])?;
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let frontend = |protocol: &str, address: String| {
        lines
            .iter()
            .position(|words| words[..2] == [protocol, address.as_str()])
            .map(|at| (at, lines[at][2]))
    };
    for protocol in ["TCP", "UDP"] {
        for address in [
            WEB_VIP.at(Family::V4, PORT).to_string(),
            WEB_VIP.at(Family::V6, PORT).to_string(),
            WEB_LB.at(Family::V4, PORT).to_string(),
            format!("*:{NODE_PORT}"),
        ] {
            let Some((at, scheduler)) = frontend(protocol, address.clone()) else {
                anyhow::bail!("no {protocol} {address} in\n{table}")
            };
            assert_eq!(scheduler, "random");
            let family = if address.starts_with('[') {
                Family::V6
            } else {
                Family::V4
            };
            for (offset, pod) in bed.node.pods()[..3].iter().enumerate() {
                let words = &lines[at + 1 + offset];
                assert_eq!(
                    words[..2],
                    ["->", &pod.addr().at(family, TARGET).to_string()]
                );
                // Connections are a backend's, whichever frontend they came by.
                let open = if (protocol, family, pod.name()) == ("TCP", Family::V4, &name) {
                    "1"
                } else {
                    "0"
                };
                assert_eq!(words[2..7], ["Local", "100", open, "0", "ready"], "{table}");
            }
        }
    }
    let wide = agent::verb(&bed.node, &["get", "services", "-o", "wide"])?;
    ensure!(wide.lines().count() == table.lines().count() && wide.len() > table.len());
    assert_eq!(agent::services(&bed.node)?["kind"], "FrontendList");
    Ok(())
}

#[test]
fn bpftool_prints_named_fields_and_readable_values() -> Result<()> {
    let bed = OneNode::new()?;
    let dump = |map: &str| {
        let pin = bed.node.map_pin(map);
        let text = bed.node.run(&["bpftool", "map", "dump", "pinned", &pin])?;
        Ok::<_, anyhow::Error>(text.split_whitespace().collect::<String>())
    };
    let services = dump("lb_frontends")?;
    for words in [
        "\"addr\":",
        "10,96,0,10",
        "\"port\":80",
        "\"proto\":6",
        "\"pool\":",
    ] {
        ensure!(services.contains(words), "no {words} in {services}");
    }
    // Arrays are long: one backend is looked up by its id.
    let backend =
        &agent_output::frontend(&bed.node, "TCP", &WEB_VIP.v4.to_string(), PORT)?.backends[0];
    let pin = bed.node.map_pin("lb_backends");
    let key = backend.id.to_le_bytes().map(|byte| byte.to_string());
    let mut words: Vec<&str> = ["bpftool", "map", "lookup", "pinned", &pin, "key"].into();
    words.extend(key.iter().map(String::as_str));
    let text = bed.node.run(&words)?.split_whitespace().collect::<String>();
    for words in ["10,244,1,2", "\"port\":8080", "\"weight\":100"] {
        ensure!(text.contains(words), "no {words} in {text}");
    }
    Ok(())
}

#[test]
fn health_and_metrics_are_served() -> Result<()> {
    let bed = OneNode::new()?;
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(
            agent::http(&bed.node, agent::HEALTH, path)?.0,
            200,
            "{path}"
        );
    }
    assert_eq!(agent::http(&bed.node, agent::HEALTH, "/nothing")?.0, 404);
    for _ in 0..3 {
        bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    }
    let text = agent_output::metrics(&bed.node)?;
    for words in [
        "lb_agent_build_info{",
        "lb_agent_sync_duration_seconds_count",
        "lb_agent_map_entries{map=\"lb_frontends\"}",
        "lb_agent_map_max_entries{map=\"lb_frontends\"}",
        "reason=\"sock_translated\"",
    ] {
        ensure!(text.contains(words), "no {words} in\n{text}");
    }
    for (accept, kind, counter) in [
        (
            "*/*",
            "text/plain; version=0.0.4",
            "# TYPE process_cpu_seconds_total counter\n",
        ),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3",
            "application/openmetrics-text; version=1.0.0",
            "# TYPE process_cpu_seconds counter\n",
        ),
    ] {
        let (_, head, text) = agent::http_accepting(&bed.node, agent::METRICS, "/metrics", accept)?;
        ensure!(head.contains(kind), "{accept}: {head}");
        ensure!(text.contains(counter), "{accept}: no {counter} in\n{text}");
        assert_eq!(text.ends_with("# EOF\n"), kind.starts_with("application"));
    }
    Ok(())
}

#[test]
fn connections_are_not_logged() -> Result<()> {
    let bed = OneNode::new()?;
    let agent = bed.agent.as_ref().expect("it was started");
    // One change, so that everything before it has been said.
    bed.apply(&one_node::web(&bed.node).affinity(10))?;
    poll::until_true(CHANGE, "the change is there", || {
        Ok(agent::verb(&bed.node, &["get", "services"])?.contains("persistent 10"))
    })?;
    let before = agent.log()?;
    for _ in 0..50 {
        bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
        agent::http(&bed.node, agent::HEALTH, "/healthz")?;
    }
    let after = agent.log()?;
    let new: Vec<&str> = after[before.len()..]
        .lines()
        .filter(|line| !line.contains("programmed"))
        .collect();
    ensure!(new.is_empty(), "{new:?}");
    Ok(())
}
