//! Command lines that the pages show: the parser takes each.

use clap::Parser as _;

use super::{Cli, Plugin};

/// A page, and whether all its commands are shown as they are typed: others have placeholders in
/// their prose, and are held in their blocks alone.
const PAGES: [(&str, &str, bool); 3] = [
    (
        "docs/on-call.md",
        include_str!("../../../../docs/on-call.md"),
        true,
    ),
    (
        "docs/operations.md",
        include_str!("../../../../docs/operations.md"),
        false,
    ),
    ("README.md", include_str!("../../../../README.md"), false),
];

/// What stands in blocks of code, line by line, and with `is_prose` also between backticks.
fn code(page: &str, is_prose: bool) -> Vec<&str> {
    let mut is_block = false;
    let mut all = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if is_block {
            all.push(line);
        } else if is_prose {
            all.extend(line.split('`').skip(1).step_by(2));
        }
    }
    all
}

/// The words of a command of this binary, which may be behind `sudo` or `kubectl exec … --`.
fn words(line: &str) -> Option<Vec<&str>> {
    let line = line.split(" #").next().unwrap_or(line);
    let line = line.split_once(" -- ").map_or(line, |(_, inner)| inner);
    let line = line.trim().trim_start_matches("sudo ");
    let words: Vec<&str> = line.split_whitespace().collect();
    let (program, skipped) = match words[..] {
        ["kubectl", "lb", ..] => ("kubectl lb", 2),
        [program, ..] if program.rsplit('/').next() == Some("lb-agent") => ("lb-agent", 1),
        _ => return None,
    };
    let rest = words[skipped..].iter().map(|word| word.trim_matches('\''));
    Some([program].into_iter().chain(rest).collect())
}

#[test]
fn each_command_line_of_the_pages_is_taken() {
    for (name, page, is_prose) in PAGES {
        let mut count = 0;
        for words in code(page, is_prose).into_iter().filter_map(words) {
            let taken = match words[0] {
                "lb-agent" => Cli::try_parse_from(&words).map(drop),
                _ => Plugin::try_parse_from(&words).map(drop),
            };
            // The name alone is the program's.
            if words.len() > 1 {
                taken.unwrap_or_else(|error| panic!("{name}: {words:?}: {error}"));
                count += 1;
            }
        }
        assert!(count > 3, "{name}: {count} commands");
    }
}

#[test]
fn a_command_line_is_found_wherever_it_runs() {
    let page =
        "`a`, `lb-agent get flows`\n```\nsudo target/release/lb-agent get pods   # why\n```\n";
    assert_eq!(code(page, true).len(), 3);
    assert_eq!(code(page, false).len(), 1);
    for (line, expected) in [
        (
            "sudo a/lb-agent get pods   # why",
            Some(vec!["lb-agent", "get", "pods"]),
        ),
        (
            "kubectl exec x -- /lb-agent get",
            Some(vec!["lb-agent", "get"]),
        ),
        (
            "kubectl lb get svc '*:1'",
            Some(vec!["kubectl lb", "get", "svc", "*:1"]),
        ),
        ("lb-agent.io/forwarding: snat", None),
        ("kubectl get pods", None),
    ] {
        assert_eq!(words(line), expected, "{line}");
    }
    assert!(Cli::try_parse_from(["lb-agent", "get", "flows", "--wrong"]).is_err());
}
