//! YAML text to objects: several documents, lists, and bad documents that do not affect the others.

use k8s_openapi::{Metadata, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::{Deserialize, de::DeserializeOwned};

use super::object::Object;
use crate::documents::{is_blank, split};

/// What a text holds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Documents {
    /// In the order of the text.
    pub objects: Vec<Object>,
    /// Kinds that this agent does not read, with the number of the document, from 1.
    pub ignored: Vec<(usize, String)>,
    /// Documents that cannot be read, each with its number and the reason.
    pub problems: Vec<Problem>,
}

/// A document that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Counted from 1; comments and empty documents between markers count too.
    pub document: usize,
    /// Counted from 1 in the whole text: where the parser stopped, or the document's first line.
    pub line: usize,
    /// Why.
    pub reason: String,
}

/// Why a part of a document cannot be read, and at which of its lines, if that is known.
struct Bad {
    reason: String,
    line: Option<usize>,
}

impl From<&str> for Bad {
    fn from(reason: &str) -> Self {
        Self::from(reason.to_owned())
    }
}

impl From<String> for Bad {
    fn from(reason: String) -> Self {
        Self { reason, line: None }
    }
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct List {
    items: Option<Vec<serde_json::Value>>,
}

/// Reads every document of `text`.
#[must_use]
pub fn read(text: &str) -> Documents {
    let mut documents = Documents::default();
    for (document, (line, part)) in (1..).zip(split(text)) {
        if let Err(Bad { reason, line: at }) = document_of(part, document, &mut documents) {
            // A document that begins with its marker has its first line there.
            let first = part.lines().position(|l| !is_blank(l)).unwrap_or(0) + 1;
            let at = line + at.unwrap_or(first) - 1;
            let reason = if line > 1 {
                format!("{reason} (lines counted from line {line})")
            } else {
                reason
            };
            documents.problems.push(Problem {
                document,
                line: at,
                reason,
            });
        }
    }
    documents
}

/// Where an object comes from: a document, with lines in its errors, or an item of a list.
enum Source<'a> {
    Text(&'a str),
    Item(serde_json::Value),
}

impl Source<'_> {
    fn get<T: DeserializeOwned>(&self) -> Result<T, Bad> {
        match self {
            Self::Text(text) => {
                let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
                serde_saphyr::from_str_with_options(text, options).map_err(|e| Bad {
                    line: e.location().and_then(|at| usize::try_from(at.line()).ok()),
                    reason: e.to_string(),
                })
            }
            Self::Item(value) => T::deserialize(value).map_err(|e| e.to_string().into()),
        }
    }

    fn named<T: DeserializeOwned + Metadata<Ty = ObjectMeta>>(&self) -> Result<Box<T>, Bad> {
        let object: T = self.get()?;
        if object.metadata().name.as_deref().is_none_or(str::is_empty) {
            return Err("metadata.name is missing".into());
        }
        Ok(Box::new(object))
    }
}

fn document_of(part: &str, document: usize, into: &mut Documents) -> Result<(), Bad> {
    if is_blank(part) {
        return Ok(());
    }
    object_of(&Source::Text(part), document, into)
}

fn object_of(source: &Source<'_>, document: usize, into: &mut Documents) -> Result<(), Bad> {
    let Head { api_version, kind } = source.get()?;
    let version = api_version.ok_or("apiVersion is missing")?;
    let kind = kind.ok_or("kind is missing")?;
    into.objects.push(match (version.as_str(), kind.as_str()) {
        ("v1", "Service") => Object::Service(source.named()?),
        ("discovery.k8s.io/v1", "EndpointSlice") => Object::Slice(source.named()?),
        ("v1", "Node") => Object::Node(source.named()?),
        ("networking.k8s.io/v1", "ServiceCIDR") => Object::ServiceCidr(source.named()?),
        (_, kind) => {
            if let Some(item_kind) = kind.strip_suffix("List") {
                return items_of(source, &version, item_kind, document, into);
            }
            into.ignored.push((document, format!("{version} {kind}")));
            return Ok(());
        }
    });
    Ok(())
}

/// Items of a `ServiceList` and the like may leave version and kind to the list.
fn items_of(
    source: &Source<'_>,
    version: &str,
    kind: &str,
    document: usize,
    into: &mut Documents,
) -> Result<(), Bad> {
    let List { items } = source.get()?;
    let mut bad = Vec::new();
    for (n, mut item) in (1..).zip(items.unwrap_or_default()) {
        if let Some(fields) = item.as_object_mut()
            && !kind.is_empty()
        {
            fields.entry("apiVersion").or_insert_with(|| version.into());
            fields.entry("kind").or_insert_with(|| kind.into());
        }
        if let Err(Bad { reason, .. }) = object_of(&Source::Item(item), document, into) {
            bad.push(format!("item {n}: {reason}"));
        }
    }
    if bad.is_empty() {
        Ok(())
    } else {
        Err(bad.join("; ").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(d: &Documents) -> Vec<String> {
        d.objects
            .iter()
            .map(|o| match o {
                Object::Service(o) => format!("svc {}", o.metadata.name.as_deref().unwrap()),
                Object::Slice(o) => format!("slice {}", o.metadata.name.as_deref().unwrap()),
                Object::Node(o) => format!("node {}", o.metadata.name.as_deref().unwrap()),
                Object::ServiceCidr(o) => format!("node {}", o.metadata.name.as_deref().unwrap()),
            })
            .collect()
    }

    const SERVICE: &str =
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.96.0.1}\n";
    const SLICE: &str = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: b}\naddressType: IPv4\nendpoints: []\n";
    const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: c}\n";

    #[test]
    fn several_documents_and_kinds_that_are_not_read() {
        let d = read(&format!(
            "# head\n---\n{SERVICE}---\n# nothing\n--- # a comment\n{SLICE}...\n---\n{NODE}---\napiVersion: v1\nkind: ConfigMap\n"
        ));
        assert_eq!(names(&d), ["svc a", "slice b", "node c"]);
        assert_eq!(d.problems, []);
        assert_eq!(d.ignored.len(), 1);
        assert_eq!(d.ignored[0].1, "v1 ConfigMap");
    }

    #[test]
    fn documents_are_numbered_from_one_with_or_without_a_first_marker() {
        for text in [
            format!("{SERVICE}---\nbad: [\n"),
            format!("---\n{SERVICE}---\nbad: [\n"),
        ] {
            let d = read(&text);
            assert_eq!(names(&d), ["svc a"]);
            assert_eq!(d.problems.len(), 1);
            assert_eq!(d.problems[0].document, 2, "{text}");
            let line = 1 + text.lines().position(|l| l.starts_with("bad")).unwrap();
            assert!(
                (line..=line + 1).contains(&d.problems[0].line),
                "{:?}",
                d.problems
            );
        }
    }

    #[test]
    fn a_bad_document_leaves_the_others() {
        let d = read(&format!(
            "kind: Service\n---\n{SERVICE}---\n\tx\n---\n{SERVICE_WITH_A_WORD_FOR_A_PORT}---\n{NODE}"
        ));
        assert_eq!(names(&d), ["svc a", "node c"]);
        let documents: Vec<_> = d.problems.iter().map(|p| p.document).collect();
        assert_eq!(documents, [1, 3, 4]);
        assert!(
            d.problems[0].reason.contains("apiVersion"),
            "{:?}",
            d.problems
        );
        assert!(d.problems[2].reason.contains("line"), "{:?}", d.problems);
    }

    const SERVICE_WITH_A_WORD_FOR_A_PORT: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: z}\nspec:\n  clusterIP: 10.96.0.1\n  ports:\n  - port: http\n";

    #[test]
    fn lists_are_opened() {
        let d = read(
            "apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: a}}
- {apiVersion: v1, kind: Pod, metadata: {name: p}}
- {apiVersion: v1, kind: Service, metadata: {}}
- 3
- {apiVersion: v1, kind: Node, metadata: {name: n}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSliceList
items:
- {metadata: {name: b}, addressType: IPv4, endpoints: []}
",
        );
        assert_eq!(names(&d), ["svc a", "node n", "slice b"]);
        assert_eq!(d.problems.len(), 1);
        let reason = &d.problems[0].reason;
        assert!(
            reason.contains("item 3: metadata.name") && reason.contains("item 4"),
            "{reason}"
        );
    }

    #[test]
    fn markers_inside_values_do_not_end_a_document() {
        let d = read(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  annotations:\n    x: |\n      ---\n      text\n---more: 1\n",
        );
        assert!(d.objects.len() + d.problems.len() == 1);
        assert_eq!(read("").objects, []);
        assert_eq!(read("\u{feff}# only a comment\n").problems, []);
    }

    #[test]
    fn json_is_yaml() {
        let d = read(
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"clusterIP":"10.96.0.1","ports":[{"port":80}]}}"#,
        );
        assert_eq!(names(&d), ["svc a"], "{:?}", d.problems);
    }
}
