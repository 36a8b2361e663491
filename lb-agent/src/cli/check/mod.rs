//! `lb-agent check`: one line for each thing that this machine and a running agent need, with the
//! remedy if it is missing.

mod agent;
mod leftovers;
mod machine;
mod ports;
mod scrape;
mod topics;

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use topics::Topic;

use super::{
    args::{Check, CheckOutput},
    output::{List, print},
};

/// One line of the output.
struct Line {
    topic: Topic,
    name: String,
    verdict: Verdict,
    /// Shown unless the verdict is [`Verdict::Ok`].
    remedy: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// It works with less.
    Warn,
    /// It works, and an operator should look at it.
    Note,
    /// Something that is needed is missing.
    Fail,
}

/// Carries the verb out; 1 if any line fails.
pub fn run(args: &Check) -> Result<ExitCode> {
    let pins = args.pins.dir();
    let mut lines: Vec<Line> = machine::kernel().collect();
    lines.extend([
        machine::bpf_dir(pins),
        machine::cgroup(args.cgroup.cgroup.as_deref()),
        ports::own_range(),
        ports::free(pins, &args.snat),
        machine::forwarding("IPv4 forwarding", "net.ipv4.ip_forward"),
        machine::forwarding("IPv6 forwarding", "net.ipv6.conf.all.forwarding"),
    ]);
    lines.extend(machine::devices(&args.devices));
    lines.extend(leftovers::lines(pins));
    if !args.pre {
        lines.push(machine::lb0());
        lines.extend(machine::former_pins(pins));
        lines.extend(agent::lines(args.metrics.address()));
    }
    print(&match args.output {
        CheckOutput::Table => lines.iter().map(Line::text).collect(),
        CheckOutput::Short => short(&lines),
        CheckOutput::Json => json(&lines)?,
    })?;
    let failed = lines.iter().any(|l| l.verdict == Verdict::Fail);
    Ok(ExitCode::from(u8::from(failed)))
}

/// Only what is not ok.
fn short(lines: &[Line]) -> String {
    let (good, rest): (Vec<&Line>, Vec<&Line>) =
        lines.iter().partition(|l| l.verdict == Verdict::Ok);
    let text: String = rest.into_iter().map(Line::text).collect();
    format!("{text}{} of {} ok\n", good.len(), lines.len())
}

/// One line for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding<'a> {
    name: &'a str,
    verdict: Verdict,
    /// Empty if it is ok.
    remedy: &'a str,
    /// Where it is explained.
    docs: String,
}

fn json(lines: &[Line]) -> Result<String> {
    let items = lines.iter().map(|line| Finding {
        name: &line.name,
        verdict: line.verdict,
        remedy: if line.verdict == Verdict::Ok {
            ""
        } else {
            &line.remedy
        },
        docs: line.docs(),
    });
    List::new("CheckList", items.collect::<Vec<_>>()).pretty()
}

impl Line {
    /// The page and the heading that explain it.
    fn docs(&self) -> String {
        format!("{}#{}", topics::PAGE, self.topic.anchor())
    }

    fn new(topic: Topic, name: &str, verdict: Verdict, remedy: impl Into<String>) -> Self {
        Self {
            topic,
            name: name.to_owned(),
            verdict,
            remedy: remedy.into(),
        }
    }

    fn ok(topic: Topic, name: &str) -> Self {
        Self::new(topic, name, Verdict::Ok, "")
    }

    fn fails_if(topic: Topic, failed: bool, name: &str, remedy: impl Into<String>) -> Self {
        let verdict = if failed { Verdict::Fail } else { Verdict::Ok };
        Self::new(topic, name, verdict, remedy)
    }

    fn text(&self) -> String {
        let Self {
            topic: _,
            name,
            verdict,
            remedy,
        } = self;
        let mark = match verdict {
            Verdict::Ok => return format!("ok    {name}\n"),
            Verdict::Warn => "warn",
            Verdict::Note => "note",
            Verdict::Fail => "FAIL",
        };
        format!("{mark}  {name}: {remedy} [{}]\n", self.docs())
    }
}
