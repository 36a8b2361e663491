//! The size of the programs: what the kernel made of each, beside a recorded budget.

use std::{collections::BTreeMap, fmt::Write as _, io::Write as _};

use anyhow::{Context as _, Result, ensure};
use lb_agent::{
    load,
    load::{OBJECT, Options},
};
use serde::Deserialize;

use crate::datapath::bare_node::BareNode;

/// Percent by which a program may be above its budget.
const TOLERANCE: u32 = 5;

/// `instructions.yaml`.
#[derive(Deserialize)]
struct Budget {
    /// Major and minor number.
    kernel: String,
    programs: BTreeMap<String, Instructions>,
}

/// Instructions of a program.
#[derive(Clone, Copy, Deserialize)]
struct Instructions {
    /// As the kernel translated it, before the JIT compiler.
    translated: u32,
    /// As many as the verifier read, on all paths together.
    verified: u32,
}

#[test]
fn every_program_stays_within_its_budget_of_instructions() -> Result<()> {
    let budget: Budget = serde_saphyr::from_str(include_str!("instructions.yaml"))?;
    let kernel = kernel()?;
    let is_recorded = kernel == budget.kernel;
    let now = instructions()?;
    let mut table = format!(
        "instructions on Linux {kernel}, beside those recorded on {}{}\n{:<16} {:>10} {:>8} {:>7}   {:>8} {:>8} {:>7}\n",
        budget.kernel,
        if is_recorded {
            ""
        } else {
            "; what the verifier reads is not compared"
        },
        "program",
        "translated",
        "recorded",
        "",
        "verified",
        "recorded",
        ""
    );
    let mut above = Vec::new();
    for (name, now) in &now {
        let Some(was) = budget.programs.get(name) else {
            above.push(format!("{name}: not in instructions.yaml"));
            continue;
        };
        writeln!(
            table,
            "{name:<16} {:>10} {:>8} {:>+6.1}%   {:>8} {:>8} {:>+6.1}%",
            now.translated,
            was.translated,
            change(now.translated, was.translated),
            now.verified,
            was.verified,
            change(now.verified, was.verified),
        )?;
        if is_above(now.translated, was.translated) {
            above.push(format!(
                "{name}: {} translated, {} recorded",
                now.translated, was.translated
            ));
        }
        if is_recorded && is_above(now.verified, was.verified) {
            above.push(format!(
                "{name}: {} verified, {} recorded",
                now.verified, was.verified
            ));
        }
    }
    note(&table)?;
    for name in budget.programs.keys() {
        if !now.contains_key(name) {
            above.push(format!("{name}: recorded, but not in the object"));
        }
    }
    ensure!(
        above.is_empty(),
        "more than {TOLERANCE} % above tests/t3/instructions.yaml: {above:#?}"
    );
    Ok(())
}

/// Loads every program with all that the agent can turn on, and asks the kernel.
fn instructions() -> Result<BTreeMap<String, Instructions>> {
    let node = BareNode::new()?;
    let dir = node.dir()?;
    let options = Options {
        lb0: true,
        fib_source: true,
        ..Options::default()
    };
    let (ebpf, _maps, _commit) = node
        .netns
        .block(|| load::load(OBJECT, &dir, &options))?
        .split();
    let mut found = BTreeMap::new();
    for (name, program) in ebpf.programs() {
        let info = program.info().with_context(|| format!("ask for {name}"))?;
        let translated = info
            .size_translated()
            .with_context(|| format!("the kernel tells no size of {name}"))?;
        let verified = info
            .verified_instruction_count()
            .with_context(|| format!("the kernel tells no verified instructions of {name}"))?;
        found.insert(
            name.to_owned(),
            Instructions {
                // Eight bytes each.
                translated: translated / 8,
                verified,
            },
        );
    }
    Ok(found)
}

/// Major and minor number of the running kernel.
fn kernel() -> Result<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let numbers: Vec<&str> = release.split('.').take(2).collect();
    ensure!(numbers.len() == 2, "kernel release {release}");
    Ok(numbers.join("."))
}

fn is_above(now: u32, was: u32) -> bool {
    now * 100 > was * (100 + TOLERANCE)
}

/// In percent.
fn change(now: u32, was: u32) -> f64 {
    f64::from(now) * 100.0 / f64::from(was) - 100.0
}

/// Prints lines that `cargo xtask` forwards, whether or not the test passes; the harness does not
/// hold them back.
fn note(text: &str) -> Result<()> {
    let mut lines = String::from("\n");
    for line in text.lines() {
        writeln!(lines, "note: {line}")?;
    }
    std::io::stdout().lock().write_all(lines.as_bytes())?;
    Ok(())
}
