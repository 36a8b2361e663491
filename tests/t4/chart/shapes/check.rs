//! A document against the shapes of one version.

use anyhow::{Result, bail};
use serde_json::Value;

use super::table::{Shape, Shapes};

/// What that version would refuse or drop; empty if nothing.
pub(super) fn wrong(shapes: &Shapes, minor: u8, document: &Value) -> Result<Vec<String>> {
    let (version, kind) = (&document["apiVersion"], &document["kind"]);
    let name = match (version.as_str(), kind.as_str()) {
        (Some("v1"), Some(kind)) => format!("io.k8s.api.core.v1.{kind}"),
        (Some("apps/v1"), Some(kind)) => format!("io.k8s.api.apps.v1.{kind}"),
        (Some("rbac.authorization.k8s.io/v1"), Some(kind)) => format!("io.k8s.api.rbac.v1.{kind}"),
        _ => bail!("{version} {kind}: not recorded"),
    };
    if shapes.field(&name, "kind", minor).is_none() {
        bail!("{name}: not recorded");
    }
    let mut wrong = Vec::new();
    look(shapes, minor, document, &Shape::Named(name), "", &mut wrong);
    Ok(wrong)
}

fn look(
    shapes: &Shapes,
    minor: u8,
    value: &Value,
    shape: &Shape,
    at: &str,
    wrong: &mut Vec<String>,
) {
    let fits = match (shape, value) {
        (Shape::Any, _)
        | (Shape::Boolean, Value::Bool(_))
        | (Shape::Numeric, Value::Number(_))
        | (Shape::String, Value::String(_)) => true,
        (Shape::List(of), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                look(shapes, minor, item, of, &format!("{at}[{index}]"), wrong);
            }
            true
        }
        (Shape::Map(of), Value::Object(fields)) => {
            for (name, value) in fields {
                look(shapes, minor, value, of, &join(at, name), wrong);
            }
            true
        }
        (Shape::Named(kind), Value::Object(fields)) => {
            for (name, value) in fields {
                let at = join(at, name);
                match shapes.field(kind, name, minor) {
                    Some(shape) => look(shapes, minor, value, shape, &at, wrong),
                    None => wrong.push(format!("{at}: no such field")),
                }
            }
            true
        }
        _ => false,
    };
    if !fits {
        wrong.push(format!("{at}: {value} is no {}", words(shape)));
    }
}

fn words(shape: &Shape) -> &str {
    match shape {
        Shape::Any => "value",
        Shape::Boolean => "boolean",
        Shape::Numeric => "number",
        Shape::String => "string",
        Shape::Named(kind) => kind,
        Shape::List(_) => "list",
        Shape::Map(_) => "map",
    }
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() {
        name.to_owned()
    } else {
        format!("{at}.{name}")
    }
}
