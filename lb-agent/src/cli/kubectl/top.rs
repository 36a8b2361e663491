//! `kubectl lb top`: what each Service port does on each node, or on all together.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal as _,
    time::Duration,
};

use anyhow::Result;

use super::{Document, Nodes, Outcome, ask, documents, flags, items, json, outcome};
use crate::cli::{
    args::{Form, TopOnNodes},
    get::{columns::columns, listing::Headers},
    output::{Reader, write},
    top::{
        CLEAR,
        order::more,
        table::{HEAD, cells},
    },
};
use crate::inventory::rates::Rates;

/// In one of so many rounds, a node that did not answer has as long as any other.
const PATIENT: u64 = 10;
/// Instead of a node where all are added up.
const ALL: &str = "all";

/// Node, Service port and protocol.
type Key = (String, String, String);

/// Carries the verb out. Nodes that do not answer are told each time.
pub(super) async fn run(nodes: &Nodes<'_>, top: &TopOnNodes) -> Result<Outcome> {
    let mut words = ["top", "--once", "--output", "json"]
        .map(str::to_owned)
        .to_vec();
    words.push(format!("--interval={}ms", top.rates.interval.as_millis()));
    words.extend(flags([("--namespace", top.rates.namespace.as_deref())]));
    let mut worst = Outcome::Good;
    let mut silent = BTreeSet::new();
    for round in 0.. {
        let limit = |node: &str| {
            let was_silent = silent.contains(node);
            let limit = limit(nodes.agents.timeout, top.rates.interval, round, was_silent);
            // The verb itself takes an interval.
            limit + top.rates.interval
        };
        let documents = documents(ask::within(nodes, &words, limit).await?);
        silent = silent_of(&documents);
        worst = worst.max(outcome(&documents));
        let text = match top.rates.output {
            Form::Json => json(&documents)?,
            Form::Table => table(&documents, top),
        };
        let is_screen =
            !top.rates.once && top.rates.output == Form::Table && std::io::stdout().is_terminal();
        let text = if is_screen {
            CLEAR.to_owned() + &text
        } else {
            text
        };
        if write(&text)? == Reader::HasLeft || top.rates.once {
            return Ok(worst);
        }
        // Of nodes that all fail at once, no more is asked than of those that answer.
        if documents.iter().all(|document| document.output.is_err()) {
            tokio::time::sleep(top.rates.interval.max(Duration::from_secs(1))).await;
        }
    }
    Ok(worst)
}

/// Nodes that have not answered.
fn silent_of(documents: &[Document]) -> BTreeSet<String> {
    let silent = documents.iter().filter(|d| d.code.is_none());
    silent.map(|d| d.node.clone()).collect()
}

/// How long a node may take beside the interval that is shown. One that was silent does not hold the
/// others up in each round.
fn limit(timeout: Duration, interval: Duration, round: u64, was_silent: bool) -> Duration {
    if was_silent && !round.is_multiple_of(PATIENT) {
        timeout.min(interval)
    } else {
        timeout
    }
}

fn table(documents: &[Document], top: &TopOnNodes) -> String {
    let mut rows: BTreeMap<Key, Rates> = BTreeMap::new();
    for (node, item) in items(documents) {
        let node = if top.sum { ALL } else { node };
        // What cannot be read is shown as nothing that is known.
        let rates: Rates = serde_json::from_value(item.clone()).unwrap_or_default();
        let key = (node.to_owned(), rates.name(), rates.protocol.clone());
        rows.entry(key).or_default().add(rates);
    }
    let mut rows: Vec<(Key, Rates)> = rows.into_iter().collect();
    rows.sort_by(|(_, a), (_, b)| more(a, b, top.rates.sort_by));
    let rows = rows
        .into_iter()
        .map(|((node, ..), rates)| [node].into_iter().chain(cells(&rates)).collect());
    let head: Vec<&str> = ["NODE"].into_iter().chain(HEAD).collect();
    columns(&head, rows.collect(), Headers::Shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_node_takes_an_interval_and_now_and_then_its_whole_time() {
        let timeout = Duration::from_secs(15);
        let interval = Duration::from_secs(1);
        let of = |round, silent| limit(timeout, interval, round, silent);
        assert_eq!(of(1, false), timeout);
        assert_eq!(of(1, true), interval);
        assert_eq!(of(PATIENT, true), timeout);
        assert_eq!(limit(interval / 2, interval, 1, true), interval / 2);
    }
}
