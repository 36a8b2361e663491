//! `kubectl lb status`: a row for each node.

use anyhow::Result;
use serde_json::Value;

use super::{Document, Nodes, Outcome, ask, documents, json, outcome};
use crate::cli::{
    args::Output,
    get::{
        columns::{columns, field},
        listing::Headers,
    },
    output::print,
};

/// Carries the verb out; fails where it does on a node.
pub(super) async fn run(nodes: &Nodes<'_>, output: Output) -> Result<Outcome> {
    let words = ["status", "--output", "json"].map(str::to_owned);
    let documents = documents(ask::all(nodes, &words).await?);
    print(&match output {
        Output::Json => json(&documents)?,
        Output::Table | Output::Wide => table(&documents, output),
    })?;
    Ok(outcome(&documents))
}

fn table(documents: &[Document], output: Output) -> String {
    let mut head = vec![
        "NODE",
        "AGENT",
        "READY",
        "PROGRAMS",
        "FRONTENDS",
        "WITHOUT-BACKENDS",
        "BACKENDS",
        "CONNECTIONS",
    ];
    let is_wide = output == Output::Wide;
    if is_wide {
        head.extend(["LB0", "DROPS", "POD"]);
    }
    let rows = documents.iter().map(|document| {
        let Ok(s) = &document.output else {
            let mut row = vec![document.node.clone(), "no answer".to_owned()];
            row.resize(head.len(), String::new());
            return row;
        };
        let agent = if s["running"] == true {
            "running"
        } else {
            "not running"
        };
        let mut row = vec![
            document.node.clone(),
            agent.to_owned(),
            field(&s["ready"]),
            field(&s["links"]),
            field(&s["frontends"]),
            field(&s["withoutBackends"]),
            field(&s["backends"]),
            field(&s["connections"]),
        ];
        if is_wide {
            let lb0 = match &s["lb0Problem"] {
                Value::Null => field(&s["lb0"]),
                problem => field(problem),
            };
            row.extend([
                lb0,
                reasons(&s["reasons"]),
                document.pod.clone().unwrap_or_default(),
            ]);
        }
        row
    });
    columns(&head, rows.collect(), Headers::Shown)
}

/// `reason=count,…`
fn reasons(all: &Value) -> String {
    let all = all.as_array().into_iter().flatten();
    let all = all.map(|one| format!("{}={}", field(&one[0]), field(&one[1])));
    all.collect::<Vec<_>>().join(",")
}
