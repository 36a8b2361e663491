//! `examples/services` and `examples/values` on a real API server, and the paths of the README.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use serde_json::Value;
use testbed::{
    agent::{self, CHANGE},
    cluster::{
        Cluster,
        chart::{self, path_str},
        objects::object,
    },
    poll,
};

use crate::cluster::common;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(dir: &str) -> Result<Vec<PathBuf>> {
    let dir = root().join("examples").join(dir);
    let entries = fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))?;
    let mut files = entries
        .map(|it| Ok(it?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.sort();
    ensure!(!files.is_empty(), "{} is empty", dir.display());
    Ok(files)
}

/// The API server takes each, and the agent programs each as it asks.
#[test]
fn the_example_services_are_programmed() -> Result<()> {
    let cluster = Cluster::shared()?;
    let node = cluster.node(18)?;
    let api = cluster.client();
    api.add_namespace("examples")?;
    let _agent = common::agent(&cluster, &node)?;
    let mut addresses = Vec::new();
    for file in files("services")? {
        let text = fs::read_to_string(&file)?;
        let value: Value = serde_saphyr::from_str(&text)?;
        let service: Service = object(value.clone()).with_context(|| file.display().to_string())?;
        let made = api
            .create("examples", &service)
            .with_context(|| file.display().to_string())?;
        // A field that the server does not know would be gone.
        let back = serde_json::to_value(&made)?;
        for field in value["spec"].as_object().context("no spec")?.keys() {
            ensure!(
                back["spec"].get(field).is_some(),
                "{}: {field} is lost",
                file.display()
            );
        }
        addresses.extend(made.spec.and_then(|spec| spec.cluster_ip));
    }
    poll::until(CHANGE, "every example is in the kernel", || {
        let services = agent::services(&node)?;
        let text = services.to_string();
        let partly = services["partiallyProgrammed"].to_string();
        ensure!(!partly.contains("examples/"), "{partly}");
        let missing = addresses
            .iter()
            .find(|ip| !text.contains(&format!("\"{ip}\"")));
        Ok(missing.is_none().then_some(()))
    })
}

#[test]
fn the_example_values_are_rendered() -> Result<()> {
    let home = tempfile::tempdir()?;
    for file in files("values")? {
        let host = ["--set", "k8sServiceHost=198.18.0.10"];
        let values = [&["-f", path_str(&file)?], &host[..]].concat();
        let documents = chart::template(home.path(), &values)?;
        ensure!(
            documents.iter().any(|it| it["kind"] == "DaemonSet"),
            "{}",
            file.display()
        );
        // Not only accepted: each changes something.
        ensure!(
            documents != chart::template(home.path(), &host)?,
            "{} changes nothing",
            file.display()
        );
    }
    Ok(())
}

/// Each file and folder of the tree that README and docs/install name is there.
#[test]
fn every_path_that_the_install_guides_name_exists() -> Result<()> {
    let root = root();
    let mut texts = vec![root.join("README.md"), root.join("examples/README.md")];
    for entry in fs::read_dir(root.join("docs/install")).context("list docs/install")? {
        texts.push(entry?.path());
    }
    let mut named = 0;
    for path in &texts {
        let text = fs::read_to_string(path)?;
        for word in text.split(|c: char| c.is_whitespace() || "`()'\"".contains(c)) {
            let word = word
                .trim_start_matches("./")
                .trim_end_matches([',', '.', ';', ':']);
            let ours = ["examples/", "kustomize/", "helm/", "packaging/"];
            if ours.iter().any(|dir| word.starts_with(dir)) {
                named += 1;
                let file = word.split('#').next().unwrap_or(word);
                ensure!(
                    root.join(file).exists(),
                    "{}: {word} is not there",
                    path.display()
                );
            }
        }
    }
    ensure!(named > 8, "only {named} paths were found");
    Ok(())
}
