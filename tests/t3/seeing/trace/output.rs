//! What people and programs read.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testbed::{
    agent::{self, CHANGE, Start},
    one_node::{NODE_PORT, PORT, WEB_VIP},
    poll,
    probe::{Family, Kind},
};

use super::{Trace, stage};
use crate::seeing::schema::{problems, schema};

#[test]
fn what_is_left_out_is_counted() -> Result<()> {
    const CALLS: u64 = 60;
    let bed = stage(Start::new())?;
    let words = ["--limit", "3", "--hook", "connect"];
    let trace = Trace::start(&bed.node, "limited", &words)?;
    for _ in 0..CALLS {
        bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    }
    poll::until_true(CHANGE, "every call is shown or left out", || {
        let said = trace.0.said()?;
        let left: u64 = said
            .lines()
            .filter_map(|line| {
                line.strip_prefix("lb-agent: ")?
                    .split_once(" decisions left out")
            })
            .filter_map(|(n, _)| n.parse::<u64>().ok())
            .sum();
        let shown = trace.decisions()?.len() as u64;
        ensure!(left == 0 || shown < CALLS, "{said}");
        Ok(left > 0 && shown + left == CALLS)
    })
}

#[test]
fn a_line_is_what_its_schema_promises() -> Result<()> {
    let bed = stage(Start::new())?;
    let trace = Trace::start(&bed.node, "schema", &["--limit", "0"])?;
    bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    let to = bed.node.addr().at(Family::V4, NODE_PORT);
    bed.lan.client(1)?.ask(Kind::Tcp, to)?;
    let all = trace.until("a reply", |d| d["reply"] == true)?;
    let schema = schema("decision")?;
    for d in &all {
        let found = problems(&schema, d);
        ensure!(found.is_empty(), "{found:#?}");
        let mut more = d.clone();
        more["colour"] = json!("blue");
        let mut less = d.clone();
        less.as_object_mut().context("an object")?.remove("hook");
        for changed in [more, less] {
            ensure!(!problems(&schema, &changed).is_empty(), "{changed:#}");
        }
    }
    Ok(())
}

#[test]
fn people_see_a_line_a_decision_without_colours_in_a_file() -> Result<()> {
    let bed = stage(Start::new())?;
    let to = WEB_VIP.at(Family::V4, PORT);
    let hammer = bed.hammer_web()?;
    let text = agent::verb(&bed.node, &["trace", "--count", "2", "--hook", "connect"])?;
    hammer.stop()?;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    ensure!(
        lines[0].starts_with("TIME") && !text.contains('\u{1b}'),
        "{text}"
    );
    for line in &lines[1..] {
        for word in ["sock_translated", "default/web", &to.to_string()] {
            ensure!(line.contains(word), "{word}: {line}");
        }
    }
    let error = agent::verb(&bed.node, &["trace", "svc/nobody"]).unwrap_err();
    ensure!(format!("{error:#}").contains("svc/nobody"), "{error:#}");
    Ok(())
}
