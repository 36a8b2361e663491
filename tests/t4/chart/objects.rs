//! What a user adds to the chart's objects: labels, annotations, a registry, objects of their own.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::cluster::chart::{self, path_str};

fn documents(args: &[&str]) -> Result<Vec<Value>> {
    let home = tempfile::tempdir()?;
    let host = ["--set", "k8sServiceHost=198.18.0.10"];
    chart::template(home.path(), &[&host[..], args].concat())
}

#[test]
fn labels_and_annotations_stand_at_every_object() -> Result<()> {
    let values = chart::dir().join("ci/everything-values.yaml");
    let all = documents(&["-f", path_str(&values)?])?;
    let mut own = 0;
    for document in &all {
        let metadata = &document["metadata"];
        let name = metadata["name"].as_str().context("no name")?;
        if name == "more" || name.ends_with("-extra") {
            continue;
        }
        own += 1;
        let kind = &document["kind"];
        assert_eq!(
            metadata["labels"]["example.com/team"], "network",
            "{kind} {name}"
        );
        // Pods and Services of tests are gone after the test.
        if metadata["annotations"]["helm.sh/hook"] != "test" {
            let contact = &metadata["annotations"]["example.com/contact"];
            assert_eq!(contact, "network@example.com", "{kind} {name}");
        }
    }
    ensure!(own > 7, "only {own} objects");
    let set = all
        .iter()
        .find(|it| it["kind"] == "DaemonSet")
        .context("no DaemonSet")?;
    assert_eq!(set["metadata"]["annotations"]["example.com/reload"], "true");
    let pod = &set["spec"]["template"]["metadata"];
    assert_eq!(pod["labels"]["example.com/team"], "network");
    assert_eq!(
        pod["annotations"]["example.com/contact"],
        "network@example.com"
    );
    assert_eq!(pod["annotations"]["example.com/note"], "everything");
    // A selector can never change.
    let selector = set["spec"]["selector"]["matchLabels"]
        .as_object()
        .context("no selector")?;
    assert_eq!(selector.len(), 2, "{selector:?}");
    Ok(())
}

#[test]
fn objects_of_the_user_are_rendered_as_templates() -> Result<()> {
    let values = chart::dir().join("ci/everything-values.yaml");
    let all = documents(&["-f", path_str(&values)?])?;
    let named = |name: &str| all.iter().find(|it| it["metadata"]["name"] == name);
    let extra = named("node-balancer-extra").context("no templated name")?;
    assert_eq!(extra["data"]["release"], "lb-agent");
    ensure!(
        named("more").is_some(),
        "the object given as text is missing"
    );
    Ok(())
}

#[test]
fn a_registry_stands_in_front_unless_the_repository_names_one() -> Result<()> {
    for (set, image) in [
        ("image.tag=v1", "ghcr.io/lb-agent/lb-agent:v1"),
        (
            "image.tag=v1,image.registry=registry.example:5000/mirror/",
            "registry.example:5000/mirror/lb-agent/lb-agent:v1",
        ),
        ("image.tag=v1,image.registry=", "lb-agent/lb-agent:v1"),
        (
            "image.tag=v1,image.registry=a.example,global.imageRegistry=b.example",
            "b.example/lb-agent/lb-agent:v1",
        ),
        (
            "image.tag=v1,image.repository=c.example/lb-agent",
            "c.example/lb-agent:v1",
        ),
        (
            "image.tag=v1,image.repository=localhost/lb-agent,global.imageRegistry=b.example",
            "localhost/lb-agent:v1",
        ),
        (
            "image.tag=v1,image.repository=lb-agent",
            "ghcr.io/lb-agent:v1",
        ),
    ] {
        let mut pods = 0;
        for document in documents(&["--set", set])? {
            let spec = match document["kind"].as_str() {
                Some("DaemonSet") => &document["spec"]["template"]["spec"],
                Some("Pod") => &document["spec"],
                _ => continue,
            };
            assert_eq!(spec["containers"][0]["image"], image, "{set}");
            pods += 1;
        }
        assert_eq!(pods, 3, "{set}");
    }
    Ok(())
}
