//! The shapes as each version of `k8s.io/client-go` carries them for server-side apply.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::table::{Field, MINORS, Shape, Shapes};

const FILE: &str = "applyconfigurations/internal/internal.go";
/// What the chart makes.
const ROOTS: [&str; 7] = [
    "io.k8s.api.apps.v1.DaemonSet",
    "io.k8s.api.core.v1.ConfigMap",
    "io.k8s.api.core.v1.Pod",
    "io.k8s.api.core.v1.Service",
    "io.k8s.api.core.v1.ServiceAccount",
    "io.k8s.api.rbac.v1.ClusterRole",
    "io.k8s.api.rbac.v1.ClusterRoleBinding",
];

/// Of all versions; downloads those modules that are not there.
pub(super) fn all() -> Result<Shapes> {
    let mut shapes = Shapes::default();
    for minor in MINORS {
        for ((kind, name), shape) in of(minor)? {
            let fields = shapes.0.entry((kind, name)).or_default();
            match fields.last_mut() {
                Some(field) if field.shape == shape && field.last + 1 == minor => {
                    field.last = minor;
                }
                _ => fields.push(Field {
                    shape,
                    first: minor,
                    last: minor,
                }),
            }
        }
    }
    Ok(shapes)
}

fn of(minor: u8) -> Result<BTreeMap<(String, String), Shape>> {
    let module = format!("k8s.io/client-go@v0.{minor}.0");
    let said = Command::new("go")
        .args(["mod", "download", "-json", &module])
        .current_dir("/")
        .output()
        .context("start go")?;
    ensure!(
        said.status.success(),
        "{module}: {}",
        String::from_utf8_lossy(&said.stdout)
    );
    let said: Value = serde_json::from_slice(&said.stdout).context("read what go says")?;
    let file = Path::new(said["Dir"].as_str().context("no Dir")?).join(FILE);
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let (_, yaml) = text.split_once("typed.YAMLObject(`").context("no schema")?;
    let (yaml, _) = yaml.split_once("`)").context("no end of the schema")?;
    let schema: Value = serde_saphyr::from_str(yaml).context("parse the schema")?;
    let types = schema["types"].as_array().context("no types")?;
    let types: BTreeMap<&str, &Value> = types
        .iter()
        .filter_map(|it| Some((it["name"].as_str()?, it)))
        .collect();
    let mut fields = BTreeMap::new();
    let (mut seen, mut todo) = (BTreeSet::new(), ROOTS.map(str::to_owned).to_vec());
    while let Some(name) = todo.pop() {
        let Some(Value::Array(all)) = types.get(&*name).map(|it| &it["map"]["fields"]) else {
            continue;
        };
        if !seen.insert(name.clone()) {
            continue;
        }
        for field in all {
            let shape = shape(&field["type"], &types);
            if let Some(named) = named(&shape) {
                todo.push(named.to_owned());
            }
            let field = field["name"].as_str().context("a field without a name")?;
            fields.insert((name.clone(), field.to_owned()), shape);
        }
    }
    Ok(fields)
}

fn shape(value: &Value, types: &BTreeMap<&str, &Value>) -> Shape {
    if let Some(name) = value["namedType"].as_str() {
        // A quantity, a time, a number or name: no type with fields.
        let fields = types.get(name).map(|it| &it["map"]["fields"]);
        return match fields {
            Some(Value::Array(_)) => Shape::Named(name.to_owned()),
            _ => Shape::Any,
        };
    }
    match value["scalar"].as_str() {
        Some("boolean") => Shape::Boolean,
        Some("numeric") => Shape::Numeric,
        Some("string") => Shape::String,
        None if value["list"].is_object() => {
            Shape::List(Box::new(shape(&value["list"]["elementType"], types)))
        }
        None if value["map"].is_object() => {
            Shape::Map(Box::new(shape(&value["map"]["elementType"], types)))
        }
        _ => Shape::Any,
    }
}

fn named(shape: &Shape) -> Option<&str> {
    match shape {
        Shape::Named(name) => Some(name),
        Shape::List(of) | Shape::Map(of) => named(of),
        _ => None,
    }
}
