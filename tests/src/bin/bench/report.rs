//! Owns what a suite leaves behind: the raw values, a page of Markdown, a chart for each metric that has one.
//! Knows nothing of how it was measured.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::chart;
use crate::frame::{Compared, DRIFT, Samples};
use crate::header::Header;

/// A promise, and the rows that tell whether it is kept: `row` over (or less) `base` is at most `limit`.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) says: String,
    pub(crate) metric: &'static str,
    pub(crate) row: String,
    pub(crate) base: String,
    pub(crate) kind: Kind,
    pub(crate) limit: f64,
}

/// How two rows are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ratio,
    Difference,
}

/// A table beside the rounds.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) head: Vec<&'static str>,
    pub(crate) lines: Vec<Vec<String>>,
}

/// All that a suite found.
pub(crate) struct Report {
    pub(crate) suite: &'static str,
    pub(crate) quick: bool,
    pub(crate) header: Header,
    pub(crate) samples: Samples,
    /// The row that others are divided by.
    pub(crate) base: usize,
    pub(crate) bars: Vec<Bar>,
    pub(crate) tables: Vec<Table>,
    /// Metrics that a chart shows.
    pub(crate) charts: &'static [&'static str],
}

impl Report {
    /// Writes `<suite>.json`, `<suite>.md` and the charts, and shows the page.
    #[expect(clippy::print_stdout, reason = "the page is what was asked for")]
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let put = |name: String, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        let raw = serde_json::to_string_pretty(&self.json()).context("write JSON")?;
        put(format!("{}.json", self.suite), &raw)?;
        let mut page = self.markdown();
        for (number, name) in self.charts.iter().enumerate() {
            let metric = self.samples.metric(name).context("a chart of no metric")?;
            let file = format!("{}-{number}.svg", self.suite);
            put(file.clone(), &chart::svg(&self.samples, metric))?;
            add(&mut page, format_args!("\n![{name}]({file})\n"));
        }
        put(format!("{}.md", self.suite), &page)?;
        println!("{page}\nwritten to {}", folder.display());
        Ok(())
    }

    fn json(&self) -> Value {
        let bars: Vec<Value> = self
            .bars
            .iter()
            .map(
                |bar| json!({"says": bar.says, "limit": bar.limit, "measured": self.measured(bar)}),
            )
            .collect();
        let tables: Vec<Value> = self
            .tables
            .iter()
            .map(|table| json!({"title": table.title, "head": table.head, "lines": table.lines}))
            .collect();
        json!({
            "suite": self.suite,
            "quick": self.quick,
            "header": self.header,
            "samples": self.samples,
            "bars": bars,
            "tables": tables,
        })
    }

    fn markdown(&self) -> String {
        let samples = &self.samples;
        let mut text = format!("# Suite {}\n\n{}", self.suite, self.header.markdown());
        add(&mut text, format_args!("- {} rounds\n", samples.rounds()));
        if self.quick {
            text.push_str("- `--quick`: fewer services, shorter blocks; not for publishing\n");
        }
        text.push_str(
            "\n## Bars\n\n| bar | limit | measured: median [min–max] | |\n|---|---|---|---|\n",
        );
        for bar in &self.bars {
            let (words, verdict) = self.verdict(bar);
            let limit = match bar.kind {
                Kind::Ratio => format!("≤ {:.2}", bar.limit),
                Kind::Difference => format!("≤ {:.0}", bar.limit),
            };
            add(
                &mut text,
                format_args!("| {} | {limit} | {words} | {verdict} |\n", bar.says),
            );
        }
        text.push_str("\n## Values: median [min–max] of the rounds\n\n");
        self.rows(&mut text, |row, metric| {
            let Some(spread) = samples.spread(row, metric) else {
                return String::new();
            };
            format!(
                "{} [{}–{}]",
                number(spread.median),
                number(spread.min),
                number(spread.max)
            )
        });
        add(
            &mut text,
            format_args!(
                "\n## Over `{}`, in the same round: median [min–max]\n\n",
                samples.rows[self.base]
            ),
        );
        self.rows(&mut text, |row, metric| {
            compared(samples.ratio(row, self.base, metric), Kind::Ratio)
        });
        text.push_str("\nRounds that count for ratios (the control within ");
        add(
            &mut text,
            format_args!("{:.0} % of its median):", DRIFT * 100.0),
        );
        for (index, metric) in samples.metrics.iter().enumerate() {
            add(
                &mut text,
                format_args!(" {} {};", metric.name, samples.counting(index)),
            );
        }
        text.pop();
        text.push_str(".\n");
        for table in &self.tables {
            add(&mut text, format_args!("\n## {}\n\n", table.title));
            line(&mut text, &table.head);
            line(&mut text, &vec!["---"; table.head.len()]);
            for words in &table.lines {
                line(&mut text, words);
            }
        }
        text
    }

    fn rows(&self, text: &mut String, cell: impl Fn(usize, usize) -> String) {
        let samples = &self.samples;
        let head: Vec<String> = std::iter::once("row".to_owned())
            .chain(
                samples
                    .metrics
                    .iter()
                    .map(|m| format!("{}, {}", m.name, m.unit)),
            )
            .collect();
        line(text, &head);
        line(text, &vec!["---"; head.len()]);
        for (row, name) in samples.rows.iter().enumerate() {
            let cells = (0..samples.metrics.len()).map(|metric| cell(row, metric));
            let words: Vec<String> = std::iter::once(name.clone()).chain(cells).collect();
            line(text, &words);
        }
    }

    fn found(&self, bar: &Bar) -> Compared {
        let samples = &self.samples;
        let (Some(row), Some(base), Some(metric)) = (
            samples.row(&bar.row),
            samples.row(&bar.base),
            samples.metric(bar.metric),
        ) else {
            return Compared::Nothing;
        };
        match bar.kind {
            Kind::Ratio => samples.ratio(row, base, metric),
            Kind::Difference => samples.difference(row, base, metric),
        }
    }

    fn measured(&self, bar: &Bar) -> String {
        compared(self.found(bar), bar.kind)
    }

    fn verdict(&self, bar: &Bar) -> (String, &'static str) {
        let found = self.found(bar);
        let verdict = match found {
            Compared::Is(spread) if spread.median <= bar.limit => "kept",
            Compared::Is(_) => "**missed**",
            Compared::Drifted(_) => "no verdict",
            Compared::Nothing => "not measured",
        };
        (compared(found, bar.kind), verdict)
    }
}

fn compared(value: Compared, kind: Kind) -> String {
    match (value, kind) {
        (Compared::Is(s), Kind::Ratio) => {
            format!("{:.2} [{:.2}–{:.2}]", s.median, s.min, s.max)
        }
        (Compared::Is(s), Kind::Difference) => {
            format!("{:.0} [{:.0}–{:.0}]", s.median, s.min, s.max)
        }
        (Compared::Drifted(by), _) => format!("none: the control drifted by {:.0} %", by * 100.0),
        (Compared::Nothing, _) => String::new(),
    }
}

/// Three digits are more than the noise leaves.
fn number(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

fn line<S: AsRef<str>>(text: &mut String, words: &[S]) {
    for word in words {
        add(text, format_args!("| {} ", word.as_ref()));
    }
    text.push_str("|\n");
}

pub(crate) fn add(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(words);
}
