//! What Ginkgo writes about a run (`--ginkgo.json-report`, `types.Report` of Ginkgo 2), as far as it
//! is read here.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// A spec that ran, or that said why it cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// All its texts.
    pub text: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Milliseconds.
    pub took_ms: u64,
    /// Why it failed or was skipped; empty if it passed.
    pub why: String,
}

/// What became of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not, or did not end.
    Failed,
    /// It found that it cannot run here.
    Skipped,
}

impl Outcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Vec<Report>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    /// Nanoseconds.
    run_time: u64,
    failure: Option<Failure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    message: String,
}

/// The specs of a report; those that were not asked for are left out.
pub(super) fn read(path: &Path) -> Result<Vec<Spec>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("read {}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Spec>> {
    let suites: Vec<Suite> = serde_json::from_str(text).context("this is no report of Ginkgo 2")?;
    let reports = suites.into_iter().flat_map(|suite| suite.spec_reports);
    Ok(reports.filter_map(spec).collect())
}

/// What runs before and after all specs counts only if it fails.
fn spec(report: Report) -> Option<Spec> {
    let why = report.failure.map_or_else(String::new, |f| f.message);
    let outcome = match report.state.as_str() {
        "passed" if report.leaf_node_type == "It" => Outcome::Passed,
        // One that was not asked for has no reason.
        "skipped" if !why.is_empty() => Outcome::Skipped,
        "passed" | "skipped" | "pending" => return None,
        _ => Outcome::Failed,
    };
    let containers = report.container_hierarchy_texts.unwrap_or_default();
    let texts = containers.into_iter().chain([report.leaf_node_text]);
    let text = texts.collect::<Vec<_>>().join(" ");
    Some(Spec {
        text: if text.is_empty() {
            report.leaf_node_type
        } else {
            text
        },
        outcome,
        took_ms: report.run_time / 1_000_000,
        why,
    })
}

/// A line for each, and their sum.
#[must_use]
pub fn table(specs: &[Spec]) -> String {
    let mut text = String::new();
    for spec in specs {
        let why = spec.why.lines().next().unwrap_or_default();
        let why = if why.is_empty() {
            String::new()
        } else {
            format!(": {why}")
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{:7} {:>6}.{}s  {}{why}",
            spec.outcome.word(),
            spec.took_ms / 1000,
            spec.took_ms % 1000 / 100,
            spec.text,
        );
    }
    let count = |outcome| specs.iter().filter(|spec| spec.outcome == outcome).count();
    let _ = write!(
        text,
        "{} passed, {} failed, {} skipped",
        count(Outcome::Passed),
        count(Outcome::Failed),
        count(Outcome::Skipped)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"[{"SuiteDescription": "Kubernetes e2e suite", "SpecReports": [
        {"ContainerHierarchyTexts": null, "LeafNodeType": "SynchronizedBeforeSuite", "LeafNodeText": "", "State": "passed", "RunTime": 5},
        {"ContainerHierarchyTexts": ["[sig-network] Services"], "LeafNodeType": "It", "LeafNodeText": "should serve", "State": "passed", "RunTime": 16790000000},
        {"ContainerHierarchyTexts": ["[sig-network] DNS"], "LeafNodeType": "It", "LeafNodeText": "should resolve", "State": "timedout", "RunTime": 429000000000, "Failure": {"Message": "A suite timeout occurred\nmore"}},
        {"ContainerHierarchyTexts": ["[sig-network] Services"], "LeafNodeType": "It", "LeafNodeText": "should use a cloud", "State": "skipped", "RunTime": 1000, "Failure": {"Message": "Only supported for providers [gce]"}},
        {"ContainerHierarchyTexts": ["[sig-apps] Jobs"], "LeafNodeType": "It", "LeafNodeText": "not asked for", "State": "skipped", "RunTime": 0}
    ]}]"#;

    #[test]
    fn specs_that_were_asked_for_are_read_with_their_reasons() {
        let specs = parse(REPORT).unwrap();
        let seen: Vec<_> = specs
            .iter()
            .map(|s| (s.outcome, s.took_ms, &*s.text))
            .collect();
        assert_eq!(
            seen,
            [
                (
                    Outcome::Passed,
                    16_790,
                    "[sig-network] Services should serve"
                ),
                (Outcome::Failed, 429_000, "[sig-network] DNS should resolve"),
                (
                    Outcome::Skipped,
                    0,
                    "[sig-network] Services should use a cloud"
                ),
            ]
        );
        let table = table(&specs);
        assert!(
            table.contains(
                "FAILED     429.0s  [sig-network] DNS should resolve: A suite timeout occurred\n"
            ),
            "{table}"
        );
        assert!(table.ends_with("1 passed, 1 failed, 1 skipped"), "{table}");
    }

    #[test]
    fn set_up_that_fails_is_a_failure() {
        let report = REPORT.replacen("passed", "failed", 1);
        let specs = parse(&report).unwrap();
        assert_eq!(
            (specs[0].outcome, &*specs[0].text),
            (Outcome::Failed, "SynchronizedBeforeSuite")
        );
        assert!(parse("{}").is_err());
    }
}
