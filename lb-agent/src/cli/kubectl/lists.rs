//! `kubectl lb get`: the lists of all nodes.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use clap::{ValueEnum as _, builder::PossibleValue};
use serde_json::Value;

use super::{
    Document, Nodes, Outcome, ask, documents,
    explain::together,
    flags, items, json,
    lacking::{NO_ITEMS, found_somewhere},
    list, outcome, texts,
};
use crate::{
    cli::{
        args::{ListArgs, ListOutput, View},
        get::{
            Labels,
            columns::{Column, columns, field, of_width},
            columns_of,
            listing::{headers, sort, width, yaml},
            views,
        },
        output::print,
    },
    visible::{self, lines},
};

/// Carries the verb out.
pub(super) async fn run(nodes: &Nodes<'_>, get: &ListArgs) -> Result<Outcome> {
    if let Some(view) = views::asked(get)? {
        return tables(nodes, get, view).await;
    }
    if get.output == ListOutput::Name {
        return names(nodes, get).await;
    }
    let words = words(get, "json");
    let answers = ask::all(nodes, &words).await?;
    let (answers, nowhere) = found_somewhere(answers, NO_ITEMS)?;
    let documents = documents(answers);
    let text = match get.output {
        ListOutput::Json => json(&documents)?,
        ListOutput::Yaml => lines(&yaml(&list(&documents))?),
        ListOutput::Table | ListOutput::Wide | ListOutput::Name => table(&documents, get)?,
    };
    print(&text)?;
    nowhere.map(|()| outcome(&documents))
}

/// Each name once.
async fn names(nodes: &Nodes<'_>, get: &ListArgs) -> Result<Outcome> {
    let answers = ask::all(nodes, &words(get, "name")).await?;
    let (answers, nowhere) = found_somewhere(answers, "")?;
    let (texts, outcome) = texts(answers);
    let mut seen = BTreeSet::new();
    let lines = texts.iter().flat_map(|(_, text)| text.lines());
    let lines = lines.filter(|line| seen.insert(*line));
    print(&lines.flat_map(|line| [line, "\n"]).collect::<String>())?;
    nowhere.map(|()| outcome)
}

/// The table of each node; those that are the same once.
async fn tables(nodes: &Nodes<'_>, get: &ListArgs, view: View) -> Result<Outcome> {
    let words = table_words(get, view);
    // The verb itself takes an interval.
    let takes = match view {
        View::Rate => get.views.interval,
        _ => Duration::ZERO,
    };
    let limit = |_: &str| nodes.agents.timeout + takes;
    let answers = ask::within(nodes, &words, limit).await?;
    let (answers, nowhere) = found_somewhere(answers, "")?;
    let (mut texts, outcome) = texts(answers);
    texts.retain(|(_, text)| !text.is_empty());
    print(&together(texts))?;
    nowhere.map(|()| outcome)
}

fn table_words(get: &ListArgs, view: View) -> Vec<String> {
    let mut flags = vec![view.flag().to_owned()];
    if view == View::Rate {
        flags.push(format!("--interval={}ms", get.views.interval.as_millis()));
    }
    if get.no_headers {
        flags.push("--no-headers".to_owned());
    }
    let words = words(get, "table");
    // In front of names.
    [&words[..2], &flags, &words[2..]].concat()
}

fn words(get: &ListArgs, output: &str) -> Vec<String> {
    let what = get.what.to_possible_value();
    let what = what.as_ref().map_or("", PossibleValue::get_name);
    let mut words = ["get", what, "--output", output]
        .map(str::to_owned)
        .to_vec();
    words.extend(flags([
        ("--namespace", get.namespace.as_deref()),
        ("--selector", get.selector.as_ref().map(Labels::text)),
        ("--sort-by", get.sort_by.as_deref()),
    ]));
    words.push("--".to_owned());
    words.extend(get.names.iter().cloned());
    words
}

fn table(documents: &[Document], get: &ListArgs) -> Result<String> {
    let shown = of_width(columns_of(get.what), width(get));
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
        .chain(shown.iter().map(|column| head_of(column)))
        .collect();
    let mut text = columns(&head, rows.collect(), headers(get));
    text += &partial(documents);
    Ok(text)
}

/// The first column has the node that is asked.
fn head_of(column: &Column) -> &'static str {
    match column.head {
        "NODE" => "ON",
        head => head,
    }
}

/// Services that are only partly programmed, with the nodes: below the table, as on one node.
fn partial(documents: &[Document]) -> String {
    let mut all: Vec<(String, Vec<&str>)> = Vec::new();
    for document in documents {
        let output = document.output.as_ref().ok();
        let services = output.and_then(|output| output["partiallyProgrammed"].as_array());
        for one in services.into_iter().flatten() {
            for problem in one["problems"].as_array().into_iter().flatten() {
                let line = format!("{}: {}", field(&one["service"]), field(problem));
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
        .map(|(line, nodes)| format!("  {} ({})\n", visible::word(&line), nodes.join(", ")));
    let head = "\nPartially programmed, as last reported by the agents:\n";
    head.to_owned() + &lines.collect::<String>()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Get, NodesVerb, Plugin, Verb};

    #[test]
    fn nodes_are_asked_for_the_view_that_is_asked_for() {
        let words = "kubectl-lb get svc web --rate --interval 2s -n shop -l app=web --no-headers";
        let asked = Plugin::parse_from(words.split(' ')).kubectl.verb;
        let NodesVerb::Get(asked) = asked else {
            unreachable!("these words are right")
        };
        let words = table_words(&asked, View::Rate);
        let words = ["lb-agent"].into_iter().map(str::to_owned).chain(words);
        let Some(Verb::Get(Get { list, .. })) = Cli::parse_from(words).verb else {
            unreachable!("it is the verb")
        };
        assert_eq!(list.views.view(), asked.views.view());
        assert_eq!(list.views.interval, asked.views.interval);
        assert_eq!(list.names, asked.names);
        assert_eq!(list.namespace, asked.namespace);
        assert!(list.no_headers && list.selector.is_some());
    }
}
