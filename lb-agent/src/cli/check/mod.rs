//! `lb-agent check`: one line for each thing that this machine and a running agent need, with the
//! remedy if it is missing.

mod agent;
mod leftovers;
mod machine;
mod ports;
mod scrape;

use std::process::ExitCode;

use anyhow::Result;

use super::{args::Check, output::print};

/// One line of the output.
struct Line {
    name: String,
    verdict: Verdict,
    /// Shown unless the verdict is [`Verdict::Ok`].
    remedy: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
        machine::lb0(),
    ]);
    lines.extend(machine::former_pins(pins));
    lines.extend(machine::devices(&args.devices));
    lines.extend(leftovers::lines(pins));
    lines.extend(agent::lines(args.metrics.address()));
    let text: String = lines.iter().map(Line::text).collect();
    print(&text)?;
    let failed = lines.iter().any(|l| l.verdict == Verdict::Fail);
    Ok(ExitCode::from(u8::from(failed)))
}

impl Line {
    fn new(name: &str, verdict: Verdict, remedy: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            verdict,
            remedy: remedy.into(),
        }
    }

    fn ok(name: &str) -> Self {
        Self::new(name, Verdict::Ok, "")
    }

    fn fails_if(failed: bool, name: &str, remedy: impl Into<String>) -> Self {
        let verdict = if failed { Verdict::Fail } else { Verdict::Ok };
        Self::new(name, verdict, remedy)
    }

    fn text(&self) -> String {
        let Self {
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
        format!("{mark}  {name}: {remedy}\n")
    }
}
