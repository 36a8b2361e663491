//! A list of any kind: filtered, sorted, and shown as a table, JSON, YAML or names, once or as it
//! changes.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::Value;

use super::{API_VERSION, filter::Filter};
use crate::{
    cli::args::{ListArgs, ListOutput},
    names::Book,
    observe::problem_file::PartiallyProgrammed,
};

/// One item of a list, and what it is found by.
pub(in crate::cli) struct Row<T> {
    /// What is shown.
    pub(in crate::cli) item: T,
    /// Different for each item of a list; the same while it changes.
    pub(super) id: String,
    /// For `-o name`.
    pub(super) name: String,
    /// `namespace/name` of each Service that it belongs to.
    pub(super) services: Vec<String>,
    /// Its addresses with their ports, as they are shown.
    pub(super) places: Vec<String>,
    /// `namespace/name` of each pod that it belongs to.
    pub(super) pods: Vec<String>,
}

/// How a table is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Width {
    Normal,
    Wide,
}

/// Whether a table has its first line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Headers {
    Shown,
    Hidden,
}

/// How items are written as a table.
pub(super) type Table<T> = Box<dyn Fn(&[&T], Width, Headers) -> String>;

/// The items of one kind.
pub(in crate::cli) struct Listing<T> {
    pub(super) kind: &'static str,
    pub(in crate::cli) rows: Vec<Row<T>>,
    pub(super) table: Table<T>,
    /// Of Services: those that are only partly programmed.
    pub(super) partial: Option<Vec<PartiallyProgrammed>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a, T> {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<&'a T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partially_programmed: Option<&'a [PartiallyProgrammed]>,
}

/// A list whose type does not matter any more.
pub(super) trait Show {
    /// Filtered and sorted.
    fn prepare(&mut self, get: &ListArgs, book: &Book) -> Result<()>;
    /// Fails if something that is named is not there. Of what is prepared.
    fn require(&self, get: &ListArgs) -> Result<()>;
    /// No item is there.
    fn is_empty(&self) -> bool;
    /// Everything.
    fn text(&self, get: &ListArgs) -> Result<String>;
    /// What is new or different since `before`, and what is gone; `before` becomes the present.
    fn changes(&self, get: &ListArgs, before: &mut BTreeMap<String, Value>) -> Result<String>;
}

impl<T: Serialize> Show for Listing<T> {
    fn prepare(&mut self, get: &ListArgs, book: &Book) -> Result<()> {
        let filter = Filter::of(get);
        filter.retain(&mut self.rows, book);
        if let Some(partial) = &mut self.partial {
            partial.retain(|one| filter.is_within(&one.service));
        }
        if let Some(path) = &get.sort_by {
            let value = |row: &Row<T>| serde_json::to_value(&row.item).context("encode JSON");
            sort(&mut self.rows, path, value)?;
        }
        Ok(())
    }

    fn require(&self, get: &ListArgs) -> Result<()> {
        Filter::of(get).require(&self.rows)
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn text(&self, get: &ListArgs) -> Result<String> {
        let list = List {
            api_version: API_VERSION,
            kind: self.kind,
            items: self.rows.iter().map(|row| &row.item).collect(),
            partially_programmed: self.partial.as_deref(),
        };
        match get.output {
            ListOutput::Json => {
                Ok(serde_json::to_string_pretty(&list).context("encode JSON")? + "\n")
            }
            ListOutput::Yaml => yaml(&list),
            ListOutput::Name => {
                let mut seen = BTreeSet::new();
                let names = self.rows.iter().map(|row| &row.name);
                let names = names.filter(|name| seen.insert(*name));
                let names: Vec<&str> = names.map(String::as_str).collect();
                Ok(lines(&names))
            }
            ListOutput::Table | ListOutput::Wide => {
                let items: Vec<&T> = self.rows.iter().map(|row| &row.item).collect();
                let headers = headers(get);
                let below = partial(self.partial.as_deref().unwrap_or_default());
                Ok((self.table)(&items, width(get), headers) + &below)
            }
        }
    }

    fn changes(&self, get: &ListArgs, before: &mut BTreeMap<String, Value>) -> Result<String> {
        let mut now = BTreeMap::new();
        let mut changed: Vec<(&'static str, &Row<T>)> = Vec::new();
        for row in &self.rows {
            let value = serde_json::to_value(&row.item).context("encode JSON")?;
            match before.get(&row.id) {
                Some(known) if *known == value => {}
                Some(_) => changed.push(("MODIFIED", row)),
                None => changed.push(("ADDED", row)),
            }
            now.insert(row.id.clone(), value);
        }
        let gone = before.iter().filter(|(id, _)| !now.contains_key(*id));
        let gone: Vec<(String, Value)> = gone.map(|(id, v)| (id.clone(), v.clone())).collect();
        *before = now;
        let mut text = String::new();
        match get.output {
            ListOutput::Json | ListOutput::Yaml => {
                let changed = changed.iter().map(|(kind, row)| {
                    let object = serde_json::to_value(&row.item).unwrap_or_default();
                    (*kind, object)
                });
                let gone = gone.into_iter().map(|(_, object)| ("DELETED", object));
                for (kind, object) in changed.chain(gone) {
                    let event = serde_json::json!({"type": kind, "object": object});
                    let _ = match get.output {
                        ListOutput::Yaml => write!(text, "---\n{}", yaml(&event)?),
                        _ => writeln!(text, "{event}"),
                    };
                }
            }
            ListOutput::Name => {
                for (_, row) in &changed {
                    let _ = writeln!(text, "{}", row.name);
                }
            }
            ListOutput::Table | ListOutput::Wide => {
                if !changed.is_empty() {
                    let items: Vec<&T> = changed.iter().map(|(_, row)| &row.item).collect();
                    text += &(self.table)(&items, width(get), Headers::Hidden);
                }
                for (id, _) in gone {
                    let _ = writeln!(text, "{id} is gone");
                }
            }
        }
        Ok(text)
    }
}

/// By the field of this name in the JSON of the items, such as `activeConnections` or
/// `.service.name`; numbers by their value. Items without it come last.
pub(in crate::cli) fn sort<T>(
    items: &mut Vec<T>,
    path: &str,
    json: impl Fn(&T) -> Result<Value>,
) -> Result<()> {
    let mut keyed: Vec<(Option<Value>, T)> = Vec::with_capacity(items.len());
    for item in std::mem::take(items) {
        let value = json(&item)?;
        let pointer = format!("/{}", path.trim_start_matches('.').replace('.', "/"));
        let key = value.pointer(&pointer).cloned();
        if key.is_none()
            && let Value::Object(fields) = &value
            && !fields.contains_key(pointer.split('/').nth(1).unwrap_or_default())
        {
            let known: Vec<&str> = fields.keys().map(String::as_str).collect();
            bail!(
                "--sort-by {path}: there is no such field, but {}",
                known.join(", ")
            );
        }
        keyed.push((key.filter(|key| !key.is_null()), item));
    }
    keyed.sort_by(|(a, _), (b, _)| match (a, b) {
        (Some(a), Some(b)) => order(a, b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    items.extend(keyed.into_iter().map(|(_, item)| item));
    Ok(())
}

fn order(a: &Value, b: &Value) -> Ordering {
    if let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) {
        return a.total_cmp(&b);
    }
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    text(a).cmp(&text(b))
}

pub(in crate::cli) fn headers(get: &ListArgs) -> Headers {
    if get.no_headers {
        Headers::Hidden
    } else {
        Headers::Shown
    }
}

/// Each with its end.
fn lines(all: &[&str]) -> String {
    all.iter().flat_map(|line| [*line, "\n"]).collect()
}

/// Below a table of Services.
fn partial(all: &[PartiallyProgrammed]) -> String {
    let mut text = String::new();
    if !all.is_empty() {
        text.push_str("\nPartially programmed, as last reported by the agent:\n");
    }
    for PartiallyProgrammed { service, problems } in all {
        for problem in problems {
            let _ = writeln!(text, "  {service}: {problem}");
        }
    }
    text
}

pub(in crate::cli) fn width(get: &ListArgs) -> Width {
    if get.output == ListOutput::Wide {
        Width::Wide
    } else {
        Width::Normal
    }
}

pub(in crate::cli) fn yaml(value: &impl Serialize) -> Result<String> {
    let text = serde_saphyr::to_string(value).context("encode YAML")?;
    Ok(text.trim_end().to_owned() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(numbers: &[(&str, Option<u32>)]) -> Listing<Value> {
        let row = |(id, n): &(&str, Option<u32>)| Row {
            item: serde_json::json!({"id": id, "n": n, "deep": {"er": id}}),
            id: (*id).to_owned(),
            name: format!("x/{id}"),
            services: vec![],
            places: vec![],
            pods: vec![],
        };
        Listing {
            kind: "List",
            rows: numbers.iter().map(row).collect(),
            table: Box::new(|items, _, _| {
                let all: Vec<String> = items.iter().map(ToString::to_string).collect();
                all.join("\n")
            }),
            partial: None,
        }
    }

    fn ids(listing: &Listing<Value>) -> Vec<&str> {
        listing.rows.iter().map(|row| &*row.id).collect()
    }

    #[test]
    fn numbers_are_sorted_by_value_and_what_has_none_comes_last() {
        let mut all = list(&[("a", Some(10)), ("b", None), ("c", Some(9))]);
        let by =
            |all: &mut Listing<Value>, path| sort(&mut all.rows, path, |row| Ok(row.item.clone()));
        by(&mut all, "n").unwrap();
        assert_eq!(ids(&all), ["c", "a", "b"]);
        by(&mut all, ".deep.er").unwrap();
        assert_eq!(ids(&all), ["a", "b", "c"]);
        let error = by(&mut all, "m").unwrap_err().to_string();
        assert!(error.contains("deep, id, n"), "{error}");
    }

    #[test]
    fn services_of_other_namespaces_are_no_problem_of_this_one() {
        let partial = |service: &str| PartiallyProgrammed {
            service: service.to_owned(),
            problems: vec!["full".to_owned()],
        };
        let of = |namespace: Option<&str>| {
            let mut get = ListArgs::for_tests(ListOutput::Table);
            get.namespace = namespace.map(str::to_owned);
            let mut all = list(&[]);
            all.partial = Some(vec![partial("shop/web"), partial("other/web")]);
            all.prepare(&get, &Book::default()).unwrap();
            let text = all.text(&get).unwrap();
            get.output = ListOutput::Json;
            let json: Value = serde_json::from_str(&all.text(&get).unwrap()).unwrap();
            let count = json["partiallyProgrammed"].as_array().unwrap().len();
            (text.matches("/web: full").count(), count)
        };
        assert_eq!(of(None), (2, 2));
        assert_eq!(of(Some("shop")), (1, 1));
        assert_eq!(of(Some("none")), (0, 0));
    }

    #[test]
    fn only_what_changed_is_shown_again() {
        let get = ListArgs::for_tests(ListOutput::Json);
        let mut seen = BTreeMap::new();
        let first = list(&[("a", Some(1)), ("b", Some(2))]);
        assert_eq!(first.changes(&get, &mut seen).unwrap().lines().count(), 2);
        assert_eq!(first.changes(&get, &mut seen).unwrap(), "");
        let second = list(&[("a", Some(3))]);
        let text = second.changes(&get, &mut seen).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].contains("MODIFIED") && lines[0].contains("\"n\":3"),
            "{text}"
        );
        assert!(
            lines[1].contains("DELETED") && lines[1].contains("\"id\":\"b\""),
            "{text}"
        );
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn what_is_named_may_go_and_come_again() {
        let mut get = ListArgs::for_tests(ListOutput::Table);
        get.names = vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()];
        let look = |ids: &[&str]| {
            let all: Vec<(&str, Option<u32>)> = ids.iter().map(|id| (*id, None)).collect();
            let mut all = list(&all);
            for row in &mut all.rows {
                row.places = vec![format!("{}:80", row.id)];
            }
            all.prepare(&get, &Book::default()).unwrap();
            all
        };
        let first = look(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        first.require(&get).unwrap();
        let mut seen = BTreeMap::new();
        first.changes(&get, &mut seen).unwrap();
        let without = look(&["10.0.0.2", "10.0.0.3"]);
        assert!(without.require(&get).is_err());
        let text = without.changes(&get, &mut seen).unwrap();
        assert_eq!(text, "10.0.0.1 is gone\n");
        let text = look(&[]).changes(&get, &mut seen).unwrap();
        assert_eq!(text, "10.0.0.2 is gone\n");
        let again = look(&["10.0.0.1"]).changes(&get, &mut seen).unwrap();
        assert!(again.contains("10.0.0.1"), "{again}");
    }
}
