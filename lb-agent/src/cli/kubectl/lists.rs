//! `kubectl lb get`: the lists of all nodes.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::{ValueEnum as _, builder::PossibleValue};
use serde_json::Value;

use super::{
    Answer, Document, Nodes, Outcome, Said, ask, documents, items, json, list, outcome, service,
    shown::{self, lines, shown},
    texts, word,
};
use crate::cli::{
    args::{ListArgs, ListOutput, What},
    get::{
        Labels,
        filter::NOTHING,
        listing::{Headers, sort, yaml},
    },
    output::print,
};

/// What a node without anything of what is named has, in JSON.
pub(super) const NO_ITEMS: &str = "{\"items\": []}";

/// A column of a table: its head, and its cell of an item.
struct Column {
    head: &'static str,
    cell: fn(&Value) -> String,
    /// With `-o wide` only.
    wide: bool,
}

/// Carries the verb out.
pub(super) async fn run(nodes: &Nodes<'_>, get: &ListArgs) -> Result<Outcome> {
    if get.output == ListOutput::Name {
        return names(nodes, get).await;
    }
    let words = words(get, "json");
    let answers = ask::all(nodes, &words).await?;
    let documents = documents(found_somewhere(answers, NO_ITEMS)?);
    let text = match get.output {
        ListOutput::Json => json(&documents)?,
        ListOutput::Yaml => lines(&yaml(&list(&documents))?),
        ListOutput::Table | ListOutput::Wide | ListOutput::Name => table(&documents, get)?,
    };
    print(&text)?;
    Ok(outcome(&documents))
}

/// Each name once.
async fn names(nodes: &Nodes<'_>, get: &ListArgs) -> Result<Outcome> {
    let answers = ask::all(nodes, &words(get, "name")).await?;
    let (texts, outcome) = texts(found_somewhere(answers, "")?);
    let mut seen = BTreeSet::new();
    let lines = texts.iter().flat_map(|(_, text)| text.lines());
    let lines = lines.filter(|line| seen.insert(*line));
    print(&lines.flat_map(|line| [line, "\n"]).collect::<String>())?;
    Ok(outcome)
}

fn words(get: &ListArgs, output: &str) -> Vec<String> {
    let what = get.what.to_possible_value();
    let what = what.as_ref().map_or("", PossibleValue::get_name);
    let mut words = ["get", what, "--output", output]
        .map(str::to_owned)
        .to_vec();
    for (flag, value) in [
        ("--namespace", get.namespace.as_deref()),
        ("--selector", get.selector.as_ref().map(Labels::text)),
        ("--sort-by", get.sort_by.as_deref()),
    ] {
        words.extend(value.map(|value| format!("{flag}={value}")));
    }
    words.push("--".to_owned());
    words.extend(get.names.iter().cloned());
    words
}

/// What is named need not be on every node: a connection is on one. A node without it has `nothing`,
/// unless none has it.
pub(super) fn found_somewhere(mut answers: Vec<Answer>, nothing: &str) -> Result<Vec<Answer>> {
    let absent: Vec<&mut Said> = answers.iter_mut().filter_map(absent).collect();
    let nowhere = absent.first().map(|said| said.error());
    let count = absent.len();
    for said in absent {
        *said = Said {
            out: nothing.to_owned(),
            err: String::new(),
            code: 0,
        };
    }
    match nowhere {
        Some(error) if count == answers.len() => Err(error),
        _ => Ok(answers),
    }
}

/// Of a node that has nothing of what is named.
fn absent(answer: &mut Answer) -> Option<&mut Said> {
    let said = answer.said.as_mut().ok();
    said.filter(|said| said.code != 0 && said.err.contains(NOTHING))
}

fn table(documents: &[Document], get: &ListArgs) -> Result<String> {
    let is_wide = get.output == ListOutput::Wide;
    let shown = of(get.what).into_iter().filter(|c| is_wide || !c.wide);
    let shown: Vec<Column> = shown.collect();
    let mut rows: Vec<(&str, &Value)> = items(documents).collect();
    if let Some(path) = &get.sort_by {
        sort(&mut rows, path, |(_, item)| Ok((*item).clone()))?;
    }
    let rows = rows.into_iter().map(|(node, item)| {
        let cells = shown.iter().map(|column| (column.cell)(item));
        [node.to_owned()].into_iter().chain(cells).collect()
    });
    let head: Vec<&str> = ["NODE"]
        .into_iter()
        .chain(shown.iter().map(|c| c.head))
        .collect();
    let headers = if get.no_headers {
        Headers::Hidden
    } else {
        Headers::Shown
    };
    let mut text = shown::table(&head, rows.collect(), headers);
    text += &partial(documents);
    Ok(text)
}

/// Services that are only partly programmed, with the nodes: below the table, as on one node.
fn partial(documents: &[Document]) -> String {
    let mut all: Vec<(String, Vec<&str>)> = Vec::new();
    for document in documents {
        let output = document.output.as_ref().ok();
        let services = output.and_then(|output| output["partiallyProgrammed"].as_array());
        for one in services.into_iter().flatten() {
            for problem in one["problems"].as_array().into_iter().flatten() {
                let line = format!("{}: {}", word(&one["service"]), word(problem));
                match all.iter_mut().find(|(known, _)| *known == line) {
                    Some((_, nodes)) => nodes.push(&document.node),
                    None => all.push((line, vec![&document.node])),
                }
            }
        }
    }
    if all.is_empty() {
        return String::new();
    }
    let lines = all
        .into_iter()
        .map(|(line, nodes)| format!("  {} ({})\n", shown(&line), nodes.join(", ")));
    let head = "\nPartially programmed, as last reported by the agents:\n";
    head.to_owned() + &lines.collect::<String>()
}

fn of(what: What) -> Vec<Column> {
    let column = |head, cell| Column {
        head,
        cell,
        wide: false,
    };
    let wide = |head, cell| Column {
        head,
        cell,
        wide: true,
    };
    match what {
        What::Services => vec![
            column("PROT", |f| word(&f["protocol"])),
            column("FRONTEND", |f| place(&f["address"], &f["port"])),
            column("SERVICE", |f| service(&f["service"])),
            column("KIND", |f| joined(&f["kinds"])),
            column("SCHEDULER", |f| word(&f["scheduler"])),
            column("READY", |f| counted(f, |b| b["state"] == "ready")),
            column("BACKENDS", |f| counted(f, |_| true)),
            column("ACTIVE", |f| sum(&f["backends"], "activeConnections")),
            wide("AFFINITY", |f| word(&f["affinitySeconds"])),
            wide("NOTE", |f| word(&f["withoutBackends"])),
        ],
        What::Backends => vec![
            column("ADDRESS", |b| place(&b["address"], &b["port"])),
            column("WEIGHT", |b| word(&b["weight"])),
            column("ACTIVE", |b| word(&b["activeConnections"])),
            column("INACTIVE", |b| word(&b["inactiveConnections"])),
            column("STATE", |b| word(&b["state"])),
            column("POD", |b| word(&b["pod"])),
            column("ON", |b| word(&b["node"])),
            column("ZONE", |b| word(&b["zone"])),
            wide("ID", |b| word(&b["id"])),
            wide("FRONTENDS", |b| word(&b["frontends"])),
        ],
        What::Flows => vec![
            column("PROT", |f| word(&f["protocol"])),
            column("CLIENT", |f| word(&f["client"])),
            column("FRONTEND", |f| word(&f["frontend"])),
            column("SOURCE", |f| word(&f["source"])),
            column("BACKEND", |f| word(&f["backend"])),
            column("STATE", |f| word(&f["state"])),
            column("IDLE", |f| word(&f["idleSeconds"])),
            column("SERVICE", |f| service(&f["service"])),
            column("POD", |f| word(&f["pod"])),
            wide("ON", |f| word(&f["node"])),
            wide("ZONE", |f| word(&f["zone"])),
            wide("CLIENT-POD", |f| word(&f["clientPod"])),
        ],
        What::Sockets => vec![
            column("PROT", |s| word(&s["protocol"])),
            column("FRONTEND", |s| word(&s["frontend"])),
            column("BACKEND", |s| word(&s["backend"])),
            column("KIND", |s| word(&s["kind"])),
            column("SERVICE", |s| service(&s["service"])),
            column("POD", |s| word(&s["pod"])),
            wide("ON", |s| word(&s["node"])),
            wide("COOKIE", |s| word(&s["cookie"])),
            wide("NETNS", |s| word(&s["netns"])),
        ],
        What::Affinity => vec![
            column("CLIENT", |a| word(&a["client"])),
            column("SERVICE", |a| service(&a["service"])),
            column("BACKEND", |a| word(&a["backend"])),
            column("POD", |a| word(&a["pod"])),
            column("IDLE", |a| word(&a["idleSeconds"])),
            column("REMAINING", |a| word(&a["remainingSeconds"])),
            wide("ON", |a| word(&a["node"])),
        ],
        What::Pods => vec![
            column("NAMESPACE", |p| word(&p["namespace"])),
            column("NAME", |p| word(&p["name"])),
            column("PATH", |p| word(&p["path"])),
            column("REASON", |p| word(&p["reason"])),
            column("CONFLICT", |p| word(&(!p["conflict"].is_null()).into())),
            wide("BECAUSE", |p| word(&p["because"])),
            wide("ADDRESSES", |p| joined(&p["addresses"])),
        ],
        What::Events => vec![
            column("LAST-SEEN", |e| word(&e["lastSeen"])),
            column("REASON", |e| word(&e["reason"])),
            column("OBJECT", object),
            column("MESSAGE", |e| word(&e["message"])),
            wide("FIRST-SEEN", |e| word(&e["firstSeen"])),
            wide("COUNT", |e| word(&e["count"])),
        ],
    }
}

fn place(address: &Value, port: &Value) -> String {
    format!("{}:{}", word(address), word(port))
}

fn joined(words: &Value) -> String {
    let words = words.as_array().into_iter().flatten().map(word);
    words.collect::<Vec<_>>().join(",")
}

fn counted(frontend: &Value, which: impl Fn(&Value) -> bool) -> String {
    let backends = frontend["backends"].as_array().into_iter().flatten();
    backends.filter(|b| which(b)).count().to_string()
}

fn sum(items: &Value, field: &str) -> String {
    let items = items.as_array().into_iter().flatten();
    let numbers = items.filter_map(|item| item[field].as_u64());
    numbers.sum::<u64>().to_string()
}

fn object(event: &Value) -> String {
    let kind = word(&event["kind"]).to_lowercase();
    let name = word(&event["name"]);
    match event["namespace"].as_str() {
        Some(namespace) => format!("{kind}/{namespace}/{name}"),
        None => format!("{kind}/{name}"),
    }
}
