//! How it went: what the parts tell, and how it is shown.

use std::fmt::Write as _;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::cli::output::List;

/// The remedy where there was no time.
pub(super) const MORE_TIME: &str = "give a slow machine more --timeout";

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    Fail,
    /// The machine has no such thing.
    Skip,
}

/// One line of the output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) verdict: Verdict,
    /// What is wrong or missing, and what to do about it; empty if it is ok.
    pub(super) remedy: String,
}

/// What a part tells the one above it: one line of JSON each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Message {
    Line(Line),
    /// The machine does not let the test run, or go on.
    Cannot(String),
    /// This is still there, and what to do about it.
    Left(String),
    /// That was all.
    Done,
}

impl Line {
    pub(super) fn ok(name: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok, "")
    }

    pub(super) fn new(
        name: impl Into<String>,
        verdict: Verdict,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            verdict,
            remedy: remedy.into(),
        }
    }

    pub(super) fn failed(name: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(name, Verdict::Fail, remedy)
    }

    /// As `lb-agent check` writes its own.
    fn text(&self) -> String {
        let Self {
            name,
            verdict,
            remedy,
        } = self;
        match verdict {
            Verdict::Ok => format!("ok    {name}\n"),
            Verdict::Fail => format!("FAIL  {name}: {remedy}\n"),
            Verdict::Skip => format!("skip  {name}: {remedy}\n"),
        }
    }
}

/// Every line, and a count.
pub(super) fn text(lines: &[Line]) -> String {
    let mut text: String = lines.iter().map(Line::text).collect();
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    // Writing to a String cannot fail.
    let _ = write!(text, "{} of {} ok", count(Verdict::Ok), lines.len());
    match count(Verdict::Skip) {
        0 => {}
        skipped => {
            let _ = write!(text, ", {skipped} skipped");
        }
    }
    text + "\n"
}

/// For programs.
pub(super) fn json(lines: &[Line]) -> Result<String> {
    List::new("SelftestList", lines).pretty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        vec![
            Line::ok("a"),
            Line::failed("b", "no answer"),
            Line::new("c", Verdict::Skip, "no IPv6"),
        ]
    }

    #[test]
    fn people_see_lines_and_a_count() {
        assert_eq!(
            text(&lines()),
            "ok    a\nFAIL  b: no answer\nskip  c: no IPv6\n1 of 3 ok, 1 skipped\n"
        );
        assert_eq!(text(&lines()[..1]), "ok    a\n1 of 1 ok\n");
    }

    #[test]
    fn programs_see_a_list() {
        let list: serde_json::Value = serde_json::from_str(&json(&lines()).unwrap()).unwrap();
        assert_eq!(list["kind"], "SelftestList");
        assert_eq!(list["items"][1]["verdict"], "fail");
        assert_eq!(list["items"][2]["remedy"], "no IPv6");
    }
}
