//! Bad objects through a folder of manifests: each is named with its reason, harms no other, and is
//! forgotten with its file.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use lb_tests::bad::{Bad, PAIR, Said, TABLE};
use testbed::{
    agent::{self, CHANGE},
    agent_output,
    one_node::OneNode,
    poll,
};

/// A slice larger than an API server would take.
const HUGE: usize = 1200;

fn huge() -> Result<String> {
    let mut text = "apiVersion: v1\nkind: Service\nmetadata: {name: huge}\nspec: {clusterIP: 10.96.7.99, ports: [{port: 80}]}\n---\n\
        apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: huge-1, labels: {kubernetes.io/service-name: huge}}\n\
        addressType: IPv4\nports: [{port: 8080}]\nendpoints:\n"
        .to_owned();
    for n in 0..HUGE {
        writeln!(text, "- {{addresses: [10.9.{}.{}]}}", n / 250, n % 250 + 1)?;
    }
    Ok(text)
}

fn backends(bed: &OneNode, address: &str, port: u16) -> Result<Option<usize>> {
    let all = agent_output::frontends(&bed.node)?;
    let found = all.iter().find(|f| f.address == address && f.port == port);
    Ok(found.map(|f| f.backends.len()))
}

/// `check` says that not all is as it was asked for, and fails.
fn check_complains(bed: &OneNode) -> Result<()> {
    let binary = agent::binary()?.display().to_string();
    let check = [
        binary.as_str(),
        "check",
        "--bpf-dir",
        &bed.node.bpf_dir().display().to_string(),
    ];
    let check = bed.node.output(&check)?;
    ensure!(
        !check.status.success() && check.stdout.contains("Services are not"),
        "{}",
        check.stdout
    );
    Ok(())
}

#[test]
fn bad_objects_are_named_and_harm_nobody() -> Result<()> {
    let bed = OneNode::new()?;
    let agent = bed.agent.as_ref().context("it runs")?;
    let hammer = bed.hammer_web()?;
    assert_eq!(agent_output::partially_programmed(&bed.node)?, []);
    ensure!(!agent::verb(&bed.node, &["get", "services"])?.contains("Partially programmed"));

    for bad in TABLE {
        bed.node
            .write_manifest(&format!("{}.yaml", bad.name), bad.yaml)?;
    }
    bed.node.write_manifest("huge.yaml", &huge()?)?;
    for bad in TABLE {
        poll::until_true(CHANGE, &format!("{bad:?} is told"), || {
            told(&bed, &agent.log()?, bad)
        })?;
        if let Some((address, port, wanted)) = bad.serves {
            let found = backends(&bed, address, port)?;
            ensure!(found == Some(wanted), "{}: {found:?} backends", bad.name);
        }
    }
    assert_eq!(backends(&bed, "10.96.7.99", 80)?, Some(HUGE));
    // Nothing is said of those that are none of ours to judge.
    let named: Vec<String> = agent_output::partially_programmed(&bed.node)?
        .into_iter()
        .map(|n| n.service)
        .collect();
    let wanted = TABLE
        .iter()
        .filter(|b| matches!(b.said, Said::OfService(..)));
    ensure!(wanted.count() == named.len(), "{named:?}");
    let files = TABLE.iter().filter(|b| matches!(b.said, Said::OfFile(_)));
    for (metric, value) in [
        ("lb_agent_services_with_problems", named.len()),
        ("lb_agent_bad_manifests", files.count()),
    ] {
        let found = agent_output::metric(&bed.node, metric)?;
        ensure!(
            (found - f64::from(u32::try_from(value)?)).abs() < 0.5,
            "{metric} {found}, not {value}"
        );
    }
    let table = agent::verb_with_state(&bed.node, &["get", "services"])?;
    for words in [
        "Partially programmed",
        "default/p8: ports: protocol \"QUIC\" of port 443 is none of TCP, UDP, SCTP",
    ] {
        ensure!(table.contains(words), "no {words} in\n{table}");
    }
    check_complains(&bed)?;

    // The older one goes: the newer one has what it asked for, and is no longer named.
    let (_, newer, address) = PAIR;
    let pair = TABLE
        .iter()
        .find(|b| b.name == "load-balancer-ip-twice")
        .context("the pair")?;
    let rest = pair
        .yaml
        .split_once("---\n")
        .and_then(|(_, rest)| rest.split_once("---\n"));
    let (_, rest) = rest.context("three documents and more")?;
    bed.node
        .write_manifest("load-balancer-ip-twice.yaml", rest)?;
    poll::until_true(CHANGE, "the newer one has the address", || {
        let named = agent_output::partially_programmed(&bed.node)?;
        Ok(backends(&bed, address, 80)? == Some(2)
            && named.iter().all(|n| !n.service.ends_with(newer)))
    })?;

    for bad in TABLE {
        bed.node.remove_manifest(&format!("{}.yaml", bad.name))?;
    }
    poll::until_true(CHANGE, "nothing bad is left", || {
        let quiet = ["lb_agent_services_with_problems", "lb_agent_bad_manifests"];
        let all: Result<Vec<f64>> = quiet
            .iter()
            .map(|name| agent_output::metric(&bed.node, name))
            .collect();
        Ok(all?.iter().all(|n| *n < 0.5)
            && agent_output::partially_programmed(&bed.node)?.is_empty())
    })?;
    let tally = hammer.stop()?;
    ensure!(tally.attempts > 0 && tally.failures.is_empty(), "{tally:?}");
    Ok(())
}

fn told(bed: &OneNode, log: &str, bad: &Bad) -> Result<bool> {
    let line = |words: &[&str]| log.lines().any(|l| words.iter().all(|w| l.contains(w)));
    let file = format!("{}.yaml", bad.name);
    Ok(match bad.said {
        Said::OfService(service, reason) => {
            let named = agent_output::partially_programmed(&bed.node)?;
            let of = named
                .iter()
                .find(|n| n.service == format!("default/{service}"));
            let shown = of.is_some_and(|n| n.problems.iter().any(|p| p.contains(reason)));
            // The log quotes what is quoted.
            shown && line(&[service, &reason.replace('"', "\\\"")])
        }
        Said::OfFile(reason) => {
            line(&[&file, reason]) || reason.starts_with("document") && line(&[&file, "document=1"])
        }
        Said::InLog(reason) => line(&[reason]),
        Said::Nowhere => bad.serves.is_some_and(|(address, port, n)| {
            backends(bed, address, port).is_ok_and(|found| found == Some(n))
        }),
    })
}
