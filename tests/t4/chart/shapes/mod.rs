//! The shapes of the API objects that the chart makes, in each supported version of Kubernetes: a
//! field that a version does not know would be dropped by its API server without a word.

mod check;
mod record;
mod table;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use table::{MINORS, Shapes};
use testbed::cluster::chart::{self, path_str};

/// Objects of others' APIs, whose shapes are not Kubernetes'.
const CUSTOM: [&str; 2] = ["PrometheusRule", "ServiceMonitor"];

#[test]
fn every_version_knows_every_field() -> Result<()> {
    let shapes = Shapes::recorded()?;
    let home = tempfile::tempdir()?;
    for minor in MINORS {
        let version = format!("v1.{minor}.0");
        let mut kinds = BTreeSet::new();
        for values in chart::value_files()? {
            let values = path_str(&values)?;
            let args = ["-f", values, "--kube-version", &version];
            for document in chart::template(home.path(), &args)? {
                let kind = document["kind"].as_str().context("no kind")?.to_owned();
                if !CUSTOM.contains(&kind.as_str()) {
                    let wrong = check::wrong(&shapes, minor, &document)?;
                    ensure!(wrong.is_empty(), "{values}, {version}: {wrong:#?}");
                }
                kinds.insert(kind);
            }
        }
        ensure!(kinds.len() > 6, "{version}: only {kinds:?}");
    }
    Ok(())
}

/// What the chart leaves out below 1.30 is what 1.29 does not know.
#[test]
fn a_field_is_known_from_its_version_on() -> Result<()> {
    let shapes = Shapes::recorded()?;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {
        "securityContext": {"appArmorProfile": {"type": "Unconfined"}}, "containers": []}});
    assert_eq!(
        check::wrong(&shapes, 29, &pod)?,
        ["spec.securityContext.appArmorProfile: no such field"]
    );
    assert!(check::wrong(&shapes, 30, &pod)?.is_empty());
    Ok(())
}

#[test]
fn misspelt_fields_and_wrong_types_are_found() -> Result<()> {
    let shapes = Shapes::recorded()?;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {
        "hostNetwrok": true, "hostPID": "yes", "containers": [{"args": "run"}],
        "tolerations": {"operator": "Exists"}, "nodeSelector": {"a": 1}}});
    let wrong = check::wrong(&shapes, 37, &pod)?;
    for said in [
        "spec.hostNetwrok: no such field",
        "spec.hostPID: \"yes\" is no boolean",
        "spec.containers[0].args: \"run\" is no list",
        "spec.tolerations: {\"operator\":\"Exists\"} is no list",
        "spec.nodeSelector.a: 1 is no string",
    ] {
        ensure!(wrong.iter().any(|it| it == said), "{said}: {wrong:#?}");
    }
    assert_eq!(wrong.len(), 5, "{wrong:#?}");
    Ok(())
}
