//! The objects of a case as the agent's events: what a list of them holds, and what a step changes.

use anyhow::{Context as _, Result, ensure};
use lb_agent::{
    model::Event,
    watch::{convert_service, convert_slice, object::Object, yaml},
};
use serde_json::{Map, Value};

use super::NODE;

/// All objects there are at one time.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) services: Vec<Event>,
    pub(super) slices: Vec<Event>,
    pub(super) node: Event,
    /// Those that the agent leaves alone, and why.
    pub(super) skipped: Vec<String>,
}

impl Objects {
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut all = Self {
            services: Vec::new(),
            slices: Vec::new(),
            node: Event::NodeGone,
            skipped: Vec::new(),
        };
        let documents = yaml::read(text);
        ensure!(documents.problems.is_empty(), "{:?}", documents.problems);
        for object in &documents.objects {
            let skipped = match object {
                Object::Service(o) => convert_service::service(o).err(),
                Object::Slice(o) => convert_slice::slice(o).err(),
                Object::Node(_) | Object::ServiceCidr(_) => None,
            };
            if let Some(not_ours) = skipped {
                let line = format!("skipped {}: {}", not_ours.key, not_ours.reason);
                all.skipped.push(line);
            }
            match (object, object.event()) {
                (Object::Service(_), event) => all.services.push(event),
                (Object::Slice(_), event) => all.slices.push(event),
                (_, Event::Node(node)) if &*node.name == NODE => all.node = Event::Node(node),
                _ => {}
            }
        }
        Ok(all)
    }

    /// What a watch reports when these objects follow upon those `before`.
    pub(super) fn since(&self, before: &Self) -> Changes {
        let changed = |now: &[Event], then: &[Event]| {
            let goes = then
                .iter()
                .filter_map(gone)
                .filter(|gone| !now.iter().filter_map(self::gone).any(|kept| kept == *gone));
            let comes = now.iter().filter(|event| !then.contains(event));
            goes.chain(comes.cloned()).collect()
        };
        Changes {
            services: changed(&self.services, &before.services),
            slices: changed(&self.slices, &before.slices),
            node: (self.node != before.node).then(|| self.node.clone()),
        }
    }
}

/// The events of one step, by kind.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) services: Vec<Event>,
    pub(super) slices: Vec<Event>,
    pub(super) node: Option<Event>,
}

/// What undoes an event.
pub(super) fn gone(event: &Event) -> Option<Event> {
    match event {
        Event::Service(s) => Some(Event::ServiceGone(s.key.clone())),
        Event::Slice(s) => Some(Event::SliceGone(s.key.clone())),
        _ => None,
    }
}

/// The documents of a case, changed by its steps as `kubectl patch --type merge` would.
pub(super) struct Documents(Vec<Value>);

impl Documents {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut documents = Vec::new();
        for document in text.split("\n---\n") {
            let value: Value = serde_saphyr::from_str(document).context(document.to_owned())?;
            if !value.is_null() {
                documents.push(value);
            }
        }
        Ok(Self(documents))
    }

    /// Merges each document into the object that it names; `$patch: delete` removes that object,
    /// and a new name adds one.
    pub(super) fn patch(&mut self, text: &str) -> Result<()> {
        for mut patch in Self::parse(text)?.0 {
            let name = name_of(&patch)?;
            let at = self
                .0
                .iter()
                .position(|d| name_of(d).ok().as_ref() == Some(&name));
            match (patch.as_object_mut().and_then(|p| p.remove("$patch")), at) {
                (Some(verb), at) => {
                    ensure!(verb == "delete", "$patch: {verb}: only delete is known");
                    self.0
                        .remove(at.with_context(|| format!("no {name:?} to delete"))?);
                }
                (None, Some(at)) => merge(&mut self.0[at], patch),
                (None, None) => {
                    ensure!(patch.get("apiVersion").is_some(), "no {name:?} to change");
                    self.0.push(patch);
                }
            }
        }
        Ok(())
    }

    /// JSON is YAML.
    pub(super) fn text(&self) -> String {
        let documents: Vec<String> = self.0.iter().map(Value::to_string).collect();
        documents.join("\n---\n")
    }
}

fn name_of(document: &Value) -> Result<[String; 3]> {
    let word = |value: &Value| value.as_str().map(str::to_owned);
    let metadata = &document["metadata"];
    Ok([
        word(&document["kind"]).context("an object without kind")?,
        word(&metadata["namespace"]).unwrap_or_else(|| "default".into()),
        word(&metadata["name"]).context("an object without name")?,
    ])
}

/// RFC 7386.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().map(|fields| fields.remove(&key));
        } else {
            merge(&mut target[key.as_str()], value);
        }
    }
}
