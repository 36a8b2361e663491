//! `kustomize/base`: what the chart renders, for those who use no helm; `UPDATE=1` writes it anew.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    cluster::{
        Cluster,
        chart::{self, path_str},
        tool,
    },
    process,
};

/// Labels that speak of helm.
const HELM: [&str; 2] = ["helm.sh/chart", "app.kubernetes.io/managed-by"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// One file an object, as `NAME.yaml`, and the list of them.
fn rendered() -> Result<Vec<(String, String)>> {
    let home = tempfile::tempdir()?;
    let values = ["--set", "k8sServiceHost=", "--skip-tests"];
    let mut files = Vec::new();
    for mut document in chart::template(home.path(), &values)? {
        let kind = document["kind"].as_str().context("no kind")?.to_lowercase();
        for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
            if let Some(Value::Object(labels)) = document.pointer_mut(labels) {
                labels.retain(|label, _| !HELM.contains(&label.as_str()));
            }
        }
        let text = serde_saphyr::to_string(&document).context("write YAML")?;
        let head = "# Rendered from helm/ by the test `chart::kustomize`: change the chart.\n";
        files.push((format!("{kind}.yaml"), format!("{head}{text}")));
    }
    files.sort();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let list = json!({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "namespace": "kube-system", "resources": names});
    let list = serde_saphyr::to_string(&list).context("write YAML")?;
    files.push(("kustomization.yaml".into(), list));
    Ok(files)
}

#[test]
fn the_base_is_what_the_chart_renders() -> Result<()> {
    let base = root().join("kustomize/base");
    let files = rendered()?;
    ensure!(files.len() > 4, "{} files", files.len());
    let mut there = Vec::new();
    for entry in fs::read_dir(&base).with_context(|| format!("list {}", base.display()))? {
        there.push(entry?.file_name().to_string_lossy().into_owned());
    }
    for (name, text) in &files {
        let file = base.join(name);
        if env::var_os("UPDATE").is_some() {
            fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        }
        let kept = fs::read_to_string(&file).unwrap_or_default();
        ensure!(
            kept == *text,
            "{} is not what the chart renders: run with UPDATE=1",
            file.display()
        );
        there.retain(|other| other != name);
    }
    ensure!(
        there.is_empty(),
        "{there:?} in {} is of no object",
        base.display()
    );
    Ok(())
}

fn kubectl(cluster: &Cluster, args: &[&str]) -> Result<String> {
    let (kubectl, kubeconfig) = (tool("kubectl")?, cluster.admin()?);
    let words = [
        &[path_str(&kubectl)?, "--kubeconfig", path_str(&kubeconfig)?],
        args,
    ]
    .concat();
    process::run(cluster.sandbox(), &words)
}

#[test]
fn the_api_server_takes_the_base() -> Result<()> {
    let cluster = Cluster::shared()?;
    let base = root().join("kustomize/base");
    let said = kubectl(
        &cluster,
        &["apply", "--dry-run=server", "-k", path_str(&base)?],
    )?;
    for object in [
        "daemonset.apps/lb-agent created",
        "clusterrolebinding.rbac.authorization.k8s.io/lb-agent",
    ] {
        ensure!(said.contains(object), "{object}: {said}");
    }
    ensure!(
        said.lines().all(|line| line.contains("(server dry run)")),
        "{said}"
    );
    Ok(())
}

#[test]
fn the_example_says_image_and_api_server() -> Result<()> {
    let cluster = Cluster::shared()?;
    let example = root().join("examples/kustomize");
    let text = kubectl(&cluster, &["kustomize", path_str(&example)?])?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)?;
    let set = documents
        .iter()
        .find(|it| it["kind"] == "DaemonSet")
        .context("no DaemonSet")?;
    assert_eq!(set["metadata"]["namespace"], "kube-system");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.example/lb-agent:0.1.0");
    let env = container["env"].as_array().context("no env")?;
    let value = |name: &str| {
        env.iter()
            .find(|it| it["name"] == name)
            .map(|it| &it["value"])
    };
    assert_eq!(value("KUBERNETES_SERVICE_HOST"), Some(&json!("192.0.2.10")));
    assert_eq!(value("KUBERNETES_SERVICE_PORT"), Some(&json!("6443")));
    ensure!(
        value("NODE_NAME").is_some(),
        "the patch replaced the environment"
    );
    Ok(())
}
