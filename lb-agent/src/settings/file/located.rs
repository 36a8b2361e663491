//! A document as values, with the line of each field.

use std::{collections::BTreeMap, fmt};

use anyhow::{Result, bail};
use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

/// What is said in front of the parser's words on a document that does not begin the file: they
/// count its lines.
#[derive(Debug)]
struct CountedFrom(u64);

impl fmt::Display for CountedFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the document of line {}, counted from there", self.0)
    }
}

/// The line of the file where the parser stopped, if it is the parser's error.
pub(super) fn stopped_at(error: &anyhow::Error) -> Option<u64> {
    let parser = error.downcast_ref::<serde_saphyr::Error>()?;
    let first = error.downcast_ref().map_or(1, |CountedFrom(line)| *line);
    Some(first + parser.location()?.line() - 1)
}

/// What a document says, and where.
#[derive(Debug, Default)]
pub(super) struct Located {
    pub(super) value: Value,
    /// Lines of fields by their whole path, such as `ipvs.scheduler`, counted from 1.
    lines: BTreeMap<String, u64>,
    /// Fields that are said twice with the same value: path, first and second line.
    pub(super) twice: Vec<(String, u64, u64)>,
}

impl Located {
    /// Reads one document that starts at line `first` of its file.
    pub(super) fn read(text: &str, first: u64) -> Result<Self> {
        let options = serde_saphyr::options! {
            with_snippet: false,
            strict_booleans: true,
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
        };
        let tree: Option<Node> =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| match first {
                1 => anyhow::Error::new(error),
                line => anyhow::Error::new(error).context(CountedFrom(line)),
            })?;
        let mut read = Self::default();
        read.value = match tree {
            None => Value::Null,
            Some(tree) => read.take("", tree, first - 1)?,
        };
        Ok(read)
    }

    /// The line of a field, 0 if nothing says where it stands.
    pub(super) fn line(&self, path: &str) -> u64 {
        self.lines.get(path).copied().unwrap_or(0)
    }

    fn take(&mut self, path: &str, node: Node, before: u64) -> Result<Value> {
        Ok(match node {
            Node::Scalar(value) => value,
            Node::List(items) => {
                let items = items.into_iter().enumerate();
                let items = items.map(|(n, item)| self.take(&format!("{path}[{n}]"), item, before));
                Value::Array(items.collect::<Result<_>>()?)
            }
            Node::Fields(fields) => {
                let mut taken = Map::new();
                for (name, node) in fields {
                    let path = join(path, &name.value);
                    let line = before + name.referenced.line();
                    let value = self.take(&path, node, before)?;
                    let earlier = self.lines.insert(path.clone(), line);
                    let known = taken.insert(name.value, value.clone());
                    match (known, earlier) {
                        (Some(known), Some(earlier)) if known == value => {
                            self.twice.push((path, earlier, line));
                        }
                        (Some(_), earlier) => bail!(
                            "{path}: said twice with different values, in line {} and in line {line}",
                            earlier.unwrap_or(0)
                        ),
                        (None, _) => {}
                    }
                }
                Value::Object(taken)
            }
        })
    }
}

/// The whole path of a field below `path`, which is empty for the file.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// As the text has it: doubled fields are still two.
enum Node {
    Scalar(Value),
    List(Vec<Node>),
    Fields(Vec<(Spanned<String>, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value);
        Ok(Node::Scalar(number.map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Node, D::Error> {
        Node::deserialize(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Node::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(field) = fields.next_entry()? {
            all.push(field);
        }
        Ok(Node::Fields(all))
    }
}
