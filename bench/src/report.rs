//! What a suite leaves behind: the raw values, a page of Markdown, a chart for each metric that has
//! one.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    bar::{Bar, compared, few},
    chart,
    header::Header,
    progress::minutes,
    samples::{DRIFT, Samples},
    stats::Spread,
};

/// A table beside the rounds.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) head: Vec<&'static str>,
    pub(crate) lines: Vec<Vec<String>>,
}

/// Rows that were measured in turns.
pub(crate) struct Part {
    /// Empty where a suite has but one.
    pub(crate) title: String,
    pub(crate) samples: Samples,
    /// Which rows others are divided by; none where no ratio means anything.
    pub(crate) over: Option<Over>,
    /// Metrics that a chart shows.
    pub(crate) charts: Vec<&'static str>,
}

/// Ratios of a part.
pub(crate) struct Over {
    /// In the title of their table.
    pub(crate) says: String,
    /// By row.
    pub(crate) bases: Vec<usize>,
}

impl Over {
    /// All over one row.
    pub(crate) fn row(samples: &Samples, row: usize) -> Self {
        Self {
            says: format!("over `{}`", samples.rows[row]),
            bases: vec![row; samples.rows.len()],
        }
    }
}

/// All that a suite found.
pub(crate) struct Report {
    pub(crate) suite: &'static str,
    pub(crate) quick: bool,
    pub(crate) header: Header,
    pub(crate) bars: Vec<Bar>,
    pub(crate) parts: Vec<Part>,
    pub(crate) tables: Vec<Table>,
    /// What a reader must know to read the numbers right, a sentence each.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// Writes `<suite>.json`, `<suite>.md` and the charts, and shows the page. `took`: all of the
    /// suite, where a clock tells.
    #[expect(clippy::print_stdout, reason = "the page is what was asked for")]
    pub(crate) fn write(&self, folder: &Path, took: Option<Duration>) -> Result<()> {
        let put = |name: String, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        let raw = serde_json::to_string_pretty(&self.json(took)).context("write JSON")?;
        put(format!("{}.json", self.suite), &raw)?;
        let mut page = self.markdown(took);
        let charts = self
            .parts
            .iter()
            .flat_map(|part| part.charts.iter().map(move |name| (part, name)));
        for (number, (part, name)) in charts.enumerate() {
            let metric = part.samples.metric(name).context("a chart of no metric")?;
            let file = format!("{}-{number}.svg", self.suite);
            put(file.clone(), &chart::svg(&part.samples, metric))?;
            let of = if part.title.is_empty() {
                String::new()
            } else {
                format!(", {}", part.title)
            };
            add(&mut page, format_args!("\n![{name}{of}]({file})\n"));
        }
        put(format!("{}.md", self.suite), &page)?;
        println!("{page}\nwritten to {}", folder.display());
        Ok(())
    }

    fn json(&self, took: Option<Duration>) -> Value {
        let bars: Vec<Value> = self.bars.iter().map(Bar::json).collect();
        let parts: Vec<Value> = self
            .parts
            .iter()
            .map(|part| json!({"title": part.title, "samples": part.samples}))
            .collect();
        let tables: Vec<Value> = self
            .tables
            .iter()
            .map(|table| json!({"title": table.title, "head": table.head, "lines": table.lines}))
            .collect();
        json!({
            "suite": self.suite,
            "quick": self.quick,
            "seconds": took.map(|took| took.as_secs()),
            "header": self.header,
            "parts": parts,
            "bars": bars,
            "tables": tables,
            "notes": self.notes,
        })
    }

    fn markdown(&self, took: Option<Duration>) -> String {
        let mut text = format!("# Suite {}\n\n{}", self.suite, self.header.markdown());
        // Of several parts each says its own.
        if let [part] = self.parts.as_slice() {
            let rounds = part.samples.rounds();
            add(&mut text, format_args!("- {rounds} rounds\n"));
        }
        if let Some(took) = took {
            add(&mut text, format_args!("- took {}\n", minutes(took)));
        }
        if self.quick {
            text.push_str(
                "- `--quick`: fewer scales and rounds, shorter blocks; not for publishing\n",
            );
        }
        for note in &self.notes {
            add(&mut text, format_args!("- {note}\n"));
        }
        if !self.bars.is_empty() {
            text.push_str(
                "\n## Bars\n\n| bar | limit | measured: median [min–max] | |\n|---|---|---|---|\n",
            );
        }
        for bar in &self.bars {
            text.push_str(&bar.line());
        }
        for part in &self.parts {
            part.markdown(&mut text);
        }
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
}

impl Part {
    fn markdown(&self, text: &mut String) {
        let Self {
            title,
            samples,
            over,
            charts: _,
        } = self;
        let of = if title.is_empty() {
            String::new()
        } else {
            format!("{title}: ")
        };
        add(
            text,
            format_args!(
                "\n## {of}values: median [min–max], rounds: {}\n\n",
                samples.rounds()
            ),
        );
        self.rows(text, |row, metric| {
            let spread = samples.spread(row, metric);
            spread.map_or_else(String::new, |spread| {
                let more = if samples.bounds(row, metric) {
                    "≥ "
                } else {
                    ""
                };
                format!("{more}{}", words(spread, samples.wanted()))
            })
        });
        let Some(Over { says, bases }) = over else {
            return;
        };
        add(
            text,
            format_args!("\n## {of}{says}, in the same round: median [min–max]\n\n"),
        );
        self.rows(text, |row, metric| {
            compared(samples.ratio(row, bases[row], metric), 2, samples.wanted())
        });
        text.push_str("\nRounds that count for ratios (the control within ");
        add(text, format_args!("{:.0} % of its median):", DRIFT * 100.0));
        for (index, metric) in samples.metrics.iter().enumerate() {
            add(
                text,
                format_args!(" {} {};", metric.name, samples.counting(index)),
            );
        }
        text.pop();
        text.push_str(".\n");
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
}

/// A value with its range, and of how many rounds it is if of fewer than these.
pub(crate) fn words(spread: Spread, rounds: usize) -> String {
    let Spread {
        median,
        min,
        max,
        count,
    } = spread;
    let range = if count == 1 {
        String::new()
    } else {
        format!(" [{}–{}]", number(min), number(max))
    };
    format!("{}{range}{}", number(median), few(count, rounds))
}

/// Three digits are more than the noise leaves.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 || value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else if value.abs() >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
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
