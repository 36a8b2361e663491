//! The alerts as a file: valid, each with a place in the documentation, each made to fire.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::cluster::{
    chart::{self, path_str},
    tools,
};

/// The file of the alerts.
pub(super) fn file() -> PathBuf {
    chart::dir().join("files/alerts.yaml")
}

/// Each alert, with all its fields.
pub(super) fn alerts() -> Result<Vec<Value>> {
    let text = fs::read_to_string(file())?;
    let parsed: Value = serde_saphyr::from_str(&text)?;
    let groups = parsed["groups"].as_array().context("no groups")?;
    let rules = groups.iter().filter_map(|group| group["rules"].as_array());
    let alerts: Vec<Value> = rules.flatten().cloned().collect();
    ensure!(alerts.len() >= 8, "{} alerts", alerts.len());
    Ok(alerts)
}

pub(super) fn name(alert: &Value) -> Result<&str> {
    alert["alert"].as_str().context("a rule that is no alert")
}

fn promtool(words: &[&str]) -> Result<String> {
    let done = Command::new(tools::find("promtool")?)
        .args(words)
        .output()?;
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(
        done.status.success(),
        "promtool {}: {said}",
        words.join(" ")
    );
    Ok(said)
}

#[test]
fn promtool_finds_nothing_wrong_in_the_alerts() -> Result<()> {
    let said = promtool(&["check", "rules", path_str(&file())?])?;
    let expected = format!("SUCCESS: {} rules found", alerts()?.len());
    ensure!(said.contains(&expected), "{said}");
    Ok(())
}

#[test]
fn each_alert_fires_when_it_should() -> Result<()> {
    let tests = include_str!("alerts_test.yaml");
    let parsed: Value = serde_saphyr::from_str(tests)?;
    let groups = parsed["tests"].as_array().context("no tests")?;
    let fired: BTreeSet<&str> = groups
        .iter()
        .filter_map(|group| group["alert_rule_test"].as_array())
        .flatten()
        .filter(|case| case["exp_alerts"].as_array().is_some_and(|e| !e.is_empty()))
        .filter_map(|case| case["alertname"].as_str())
        .collect();
    for alert in &alerts()? {
        let name = name(alert)?;
        ensure!(fired.contains(name), "{name} fires in no test");
    }
    let dir = tempfile::tempdir()?;
    fs::copy(file(), dir.path().join("alerts.yaml"))?;
    let path = dir.path().join("alerts_test.yaml");
    fs::write(&path, tests)?;
    promtool(&["test", "rules", path_str(&path)?])?;
    Ok(())
}

/// A rule whose test lies is found: the check above can fail.
#[test]
fn an_alert_that_does_not_fire_is_found() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alerts = fs::read_to_string(file())?;
    let deaf = alerts.replace(
        "lb_agent_hidden_listeners > 0",
        "lb_agent_hidden_listeners > 9",
    );
    ensure!(deaf != alerts, "the alert has another expression now");
    fs::write(dir.path().join("alerts.yaml"), deaf)?;
    let path = dir.path().join("alerts_test.yaml");
    fs::write(&path, include_str!("alerts_test.yaml"))?;
    let said = promtool(&["test", "rules", path_str(&path)?]);
    let said = format!("{:#}", said.expect_err("promtool did not notice"));
    ensure!(said.contains("LbAgentListenerHidden"), "{said}");
    Ok(())
}

#[test]
fn each_alert_has_its_heading_in_the_documentation() -> Result<()> {
    let page = fs::read_to_string(chart::dir().join("../docs/alerts.md"))?;
    let mut headings: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    for alert in &alerts()? {
        let name = name(alert)?;
        ensure!(headings.remove(name), "docs/alerts.md has no {name}");
        let expected = format!("docs/alerts.md#{}", name.to_lowercase());
        let url = &alert["annotations"]["runbook_url"];
        ensure!(url.as_str() == Some(&expected), "{name}: {url}");
    }
    ensure!(headings.is_empty(), "no such alerts: {headings:?}");
    Ok(())
}

/// As an operator gets them: names left out, labels added, links to the page that was asked for.
#[test]
fn the_chart_carries_the_alerts_as_it_is_told() -> Result<()> {
    let home = tempfile::tempdir()?;
    let documents = chart::template(
        home.path(),
        &[
            "--set",
            "k8sServiceHost=198.18.0.10,metrics.enabled=true,metrics.prometheusRule.enabled=true",
            "--set",
            "metrics.prometheusRule.disabledAlerts={LbAgentSlow}",
            "--set",
            "metrics.prometheusRule.alertLabels.team=network",
            "--set",
            "metrics.prometheusRule.runbookUrl=https://runbooks.example.com/lb",
        ],
    )?;
    let rule = documents
        .iter()
        .find(|document| document["kind"] == "PrometheusRule")
        .context("no PrometheusRule")?;
    let made = rule["spec"]["groups"][0]["rules"].as_array();
    let made = made.context("no rules")?;
    let mut expected = alerts()?;
    expected.retain(|alert| alert["alert"] != "LbAgentSlow");
    ensure!(made.len() == expected.len(), "{} alerts", made.len());
    for (made, mut expected) in made.iter().zip(expected) {
        let name = name(made)?;
        expected["labels"]["team"] = "network".into();
        let link = format!("https://runbooks.example.com/lb#{}", name.to_lowercase());
        expected["annotations"]["runbook_url"] = link.into();
        ensure!(*made == expected, "{made} is not {expected}");
    }
    Ok(())
}
