//! The JSON of each list is what its schema in `docs/schema/` promises.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};
use testbed::{
    addr,
    one_node::{self, NODE_PORT, PORT, WEB_VIP},
    probe::{Family, Kind},
};

use super::{bed, get};

pub(super) fn schema(name: &str) -> Result<jsonschema::Validator> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/schema/{name}.json"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let schema: Value = serde_json::from_str(&text)?;
    jsonschema::validator_for(&schema).map_err(|error| anyhow!("{name}: {error}"))
}

pub(super) fn problems(schema: &jsonschema::Validator, value: &Value) -> Vec<String> {
    let of = |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    schema.iter_errors(value).map(of).collect()
}

#[test]
fn lists_keep_what_their_schemas_promise() -> Result<()> {
    let bed = bed()?;
    let to = WEB_VIP.at(Family::V4, PORT);
    let _held = bed.client().connect(Kind::Tcp, to)?;
    let outside = bed.lan.client(1)?;
    let _flow = outside.connect(Kind::Tcp, bed.node.addr().at(Family::V4, NODE_PORT))?;
    // One that nobody serves, and one that is only partly programmed.
    bed.apply(
        &one_node::behind("empty", addr::vip(74), &[])
            .annotate("lb-agent.io/x", "y")
            .port(PORT, 1),
    )?;
    testbed::poll::until_true(testbed::agent::CHANGE, "it is reported", || {
        Ok(get(&bed, &["events"])?["items"] != json!([]))
    })?;
    for what in [
        "services", "backends", "flows", "sockets", "affinity", "events",
    ] {
        let schema = schema(what)?;
        let list = get(&bed, &[what])?;
        ensure!(
            list["items"] != json!([]),
            "{what}: there is nothing to judge"
        );
        let found = problems(&schema, &list);
        ensure!(found.is_empty(), "{what}: {found:#?}");

        // The schema is one that refuses: a new field, a missing one, another kind.
        let mut more = list.clone();
        more["items"][0]["colour"] = json!("blue");
        let mut less = list.clone();
        let first = less["items"][0].as_object_mut().context("an object")?;
        let name = first.keys().next().context("a field")?.clone();
        first.remove(&name);
        let mut other = list.clone();
        other["kind"] = json!("List");
        for changed in [more, less, other] {
            ensure!(
                !problems(&schema, &changed).is_empty(),
                "{what} admits {changed:#}"
            );
        }
    }
    Ok(())
}
