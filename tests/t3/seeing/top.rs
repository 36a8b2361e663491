//! `top`: what each Service port does now.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::agent;

use super::bed;

#[test]
fn rates_are_those_of_the_interval() -> Result<()> {
    let bed = bed()?;
    let top = || -> Result<Vec<Value>> {
        let text = agent::verb(
            &bed.node,
            &["top", "--once", "--interval", "2s", "-o", "json"],
        )?;
        let list: Value = serde_json::from_str(&text)?;
        assert_eq!(list["kind"], "RateList");
        Ok(list["items"].as_array().context("a list")?.clone())
    };
    let rate = |all: &[Value]| -> Result<f64> {
        let web = all
            .iter()
            .find(|r| r["service"]["name"] == "web" && r["protocol"] == "TCP");
        web.context("no web")?["connectionsPerSecond"]
            .as_f64()
            .context("a number")
    };
    ensure!(rate(&top()?)?.abs() < 0.01, "nobody connects");
    let hammer = bed.hammer_web()?;
    let busy = top()?;
    hammer.stop()?;
    ensure!(rate(&busy)? > 1.0, "{busy:#?}");
    // The busiest is first.
    ensure!(busy[0]["service"]["name"] == "web", "{busy:#?}");
    let table = agent::verb(&bed.node, &["top", "--once", "-n", "elsewhere"])?;
    assert_eq!(table.lines().count(), 1, "{table}");
    Ok(())
}
