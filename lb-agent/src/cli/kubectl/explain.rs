//! `kubectl lb explain`: why, on each node; those that say the same are shown together.

use anyhow::Result;

use super::{Nodes, Outcome, ask, documents, flags, json, outcome, texts};
use crate::cli::{
    args::{Form, SubjectArgs},
    explain::text::THIS_NODE,
    output::print,
};

/// In front of the nodes that say what is below.
const HEADING: &str = "===";

/// Carries the verb out.
pub(super) async fn run(nodes: &Nodes<'_>, explain: &SubjectArgs) -> Result<Outcome> {
    let words = words(explain);
    let answers = ask::all(nodes, &words).await?;
    if explain.output == Form::Json {
        let documents = documents(answers);
        print(&json(&documents)?)?;
        return Ok(outcome(&documents));
    }
    let (said, outcome) = texts(answers);
    print(&together(said))?;
    Ok(outcome)
}

/// Each text once, with the nodes that say it.
pub(super) fn together(said: Vec<(String, String)>) -> String {
    let mut parts: Vec<(String, Vec<String>)> = Vec::new();
    for (node, text) in said {
        let text = of_any_node(&text, &node);
        match parts.iter_mut().find(|(known, _)| *known == text) {
            Some((_, nodes)) => nodes.push(node),
            None => parts.push((text, vec![node])),
        }
    }
    let parts = parts.into_iter().map(|(text, nodes)| {
        let word = if nodes.len() == 1 { "node" } else { "nodes" };
        format!("{HEADING} {word} {}\n{text}", nodes.join(", "))
    });
    parts.collect::<Vec<_>>().join("\n")
}

/// Without the name of the node that it is explained for, which is shown in front. A line that looks
/// like a heading is none.
fn of_any_node(text: &str, node: &str) -> String {
    let named = format!("{node}, ");
    let lines = text.lines().map(|line| {
        if line.starts_with(THIS_NODE) {
            line.replacen(&named, "", 1) + "\n"
        } else if line.trim_start().starts_with(HEADING) {
            format!("| {line}\n")
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

fn words(explain: &SubjectArgs) -> Vec<String> {
    let SubjectArgs {
        words: subject,
        namespace,
        port,
        from,
        output,
    } = explain;
    let mut words = vec!["explain".to_owned()];
    words.extend(flags([
        ("--namespace", namespace.as_deref()),
        ("--port", port.as_deref()),
        ("--from", from.as_deref()),
    ]));
    if *output == Form::Json {
        words.push("--output=json".to_owned());
    }
    words.push("--".to_owned());
    words.extend(subject.iter().cloned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_say_the_same_are_shown_together() {
        let of = |node: &str, zone: &str| {
            let text = format!("Service     shop/web\nThis node   {node}, zone {zone}\n");
            (node.to_owned(), text)
        };
        let text = together(vec![of("n1", "a"), of("n2", "b"), of("n3", "a")]);
        assert_eq!(
            text,
            "=== nodes n1, n3\nService     shop/web\nThis node   zone a\n\n=== node n2\nService     shop/web\nThis node   zone b\n"
        );
    }

    #[test]
    fn a_node_does_not_speak_for_another() {
        let evil = "Service     shop/web\n=== node n2\nService     gone\n";
        let text = together(vec![("n1".to_owned(), evil.to_owned())]);
        let headings = text.lines().filter(|line| line.starts_with(HEADING));
        assert_eq!(headings.collect::<Vec<_>>(), ["=== node n1"]);
        assert!(text.contains("\n| === node n2\n"), "{text}");
    }
}
