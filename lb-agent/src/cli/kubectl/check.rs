//! `kubectl lb check`: what nodes miss; what several miss is one line.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Document, Nodes, Outcome, ask, documents, items, json, outcome};
use crate::cli::{
    args::CheckOutput,
    get::{
        columns::{columns, field},
        listing::Headers,
    },
    output::print,
};

/// Carries the verb out; fails where it does on a node.
pub(super) async fn run(nodes: &Nodes<'_>, output: CheckOutput) -> Result<Outcome> {
    let words = ["check", "--output", "json"].map(str::to_owned);
    let documents = documents(ask::all(nodes, &words).await?);
    print(&match output {
        CheckOutput::Json => json(&documents)?,
        CheckOutput::Table | CheckOutput::Short => table(&documents, output),
    })?;
    Ok(outcome(&documents))
}

/// What was found, and the nodes that it was found on.
struct Finding<'a> {
    /// Verdict, name, remedy, place in the documentation.
    words: [String; 4],
    nodes: Vec<&'a str>,
}

pub(super) fn table(documents: &[Document], output: CheckOutput) -> String {
    let mut found: Vec<Finding<'_>> = Vec::new();
    let (mut good, mut all) = (0, 0);
    for (node, item) in items(documents) {
        let words = ["verdict", "name", "remedy", "docs"].map(|name| field(&item[name]));
        all += 1;
        let is_good = words[0] == "ok";
        good += usize::from(is_good);
        if is_good && output == CheckOutput::Short {
            continue;
        }
        match found.iter_mut().find(|known| known.words == words) {
            Some(known) => known.nodes.push(node),
            None => found.push(Finding {
                words,
                nodes: vec![node],
            }),
        }
    }
    let answered = documents.iter().filter(|d| d.output.is_ok()).count();
    let rows = found.into_iter().map(|finding| {
        let [verdict, name, remedy, docs] = finding.words;
        let nodes = match finding.nodes.len() {
            n if n == answered && n > 1 => "all".to_owned(),
            _ => finding.nodes.join(","),
        };
        let docs = if remedy.is_empty() {
            String::new()
        } else {
            docs
        };
        vec![nodes, verdict, name, remedy, docs]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let mut text = String::new();
    if !rows.is_empty() {
        let head = ["NODE", "VERDICT", "CHECK", "REMEDY", "DOCS"];
        text = columns(&head, rows, Headers::Shown);
    }
    if output == CheckOutput::Short {
        let _ = writeln!(text, "{good} of {all} ok on {answered} nodes");
    }
    text
}
