//! Differences sorted by what they look like: many of one class have one cause mostly.

use std::collections::{BTreeMap, BTreeSet};

use testbed::probe::{Observation, Outcome};

use crate::{
    judge,
    plan::Endpoint,
    question::{Client, Front},
    report,
    score::Answered,
};

/// What was seen of one class.
#[derive(Debug, Clone, Default)]
struct Seen {
    questions: usize,
    clusters: BTreeSet<String>,
}

/// All classes of a run.
#[derive(Debug, Clone, Default)]
pub struct Classes(BTreeMap<String, Seen>);

impl Classes {
    /// Counts a difference of the cluster of this name.
    pub fn add(&mut self, cluster: &str, one: &Answered) {
        let seen = self.0.entry(class(one)).or_default();
        seen.questions += 1;
        seen.clusters.insert(cluster.to_owned());
    }

    /// The commonest first, with the first clusters of each.
    #[must_use]
    pub fn table(&self) -> String {
        let mut rows: Vec<_> = self.0.iter().collect();
        rows.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.clusters.len()));
        let mut text = String::from("clusters questions class: first clusters\n");
        for (class, seen) in rows {
            let first: Vec<&str> = seen.clusters.iter().take(4).map(String::as_str).collect();
            report::add(
                &mut text,
                format_args!(
                    "{:>8} {:>9} {class}: {}\n",
                    seen.clusters.len(),
                    seen.questions,
                    first.join(", ")
                ),
            );
        }
        text
    }
}

fn class(one: &Answered) -> String {
    let question = &one.question;
    let protocol = match (question.udp, question.connected) {
        (false, _) => "TCP",
        (true, true) => "UDP connected",
        (true, false) => "UDP",
    };
    let front = match question.front {
        Front::LoadBalancer(..) => "LoadBalancer".to_owned(),
        Front::External(_) => "External".to_owned(),
        other => format!("{other:?}"),
    };
    let across = if is_across(one) {
        " of the other node"
    } else {
        ""
    };
    let client = match question.client {
        Client::Pod | Client::Backend => "a pod",
        Client::Host => "a host",
        Client::Outside => "a client outside",
    };
    let (port, theirs, ours) = match &one.reused {
        Some(reused) if reused.we_differ => ("used port", &one.ours, &reused.ours),
        _ => (
            "fresh port",
            one.inside
                .as_ref()
                .or(one.pool.as_ref())
                .unwrap_or(&one.theirs),
            &one.ours,
        ),
    };
    format!(
        "{port}, {protocol}, {client}{across} at {front}: {}{}",
        change(theirs, ours),
        marks(one)
    )
}

fn change(right: &Observation, seen: &Observation) -> String {
    let (right_names, seen_names) = (judge::names(right), judge::names(seen));
    let odd = seen.iter().find(|one| !right.contains(one) && failed(one));
    if let Some(odd) = odd {
        return format!("{} became {}", sort(right), word(odd));
    }
    if right_names == seen_names {
        return "another source address".to_owned();
    }
    match (
        seen_names.is_subset(&right_names),
        seen_names.is_superset(&right_names),
    ) {
        (true, _) => "fewer backends".to_owned(),
        (_, true) => format!("{} became more backends", sort(right)),
        _ => "other backends".to_owned(),
    }
}

fn failed(outcome: &Outcome) -> bool {
    !matches!(outcome, Outcome::Answer { .. })
}

fn sort(observed: &Observation) -> String {
    let words: BTreeSet<String> = observed.iter().map(word).collect();
    words.into_iter().collect::<Vec<_>>().join("+")
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answer { .. } => "answer".to_owned(),
        Outcome::Errno(number) => format!("errno {number}"),
        Outcome::Silence => "silence".to_owned(),
        Outcome::Odd(words) if words.starts_with("the answer comes from") => {
            "an answer from elsewhere".to_owned()
        }
        Outcome::Odd(words) => words.clone(),
    }
}

/// What is known to matter.
fn marks(one: &Answered) -> String {
    let mut slices = one.svc.slices.iter();
    let is_misplaced = |endpoint: &Endpoint| endpoint.misplaced;
    let misplaced = slices.any(|slice| slice.endpoints.iter().any(is_misplaced));
    let local = is_across(one) && one.svc.external_local;
    let marks = [
        (misplaced, " [an untrue nodeName]"),
        (local, " [external Local]"),
    ];
    let named = marks.iter().filter(|(is, _)| *is).map(|(_, name)| *name);
    named.collect()
}

/// Asked by one node's pods or processes, at the other node's address.
fn is_across(one: &Answered) -> bool {
    let question = &one.question;
    question.client != Client::Outside && question.from != question.through
}
