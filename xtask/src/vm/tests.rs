//! Tier 5: which tests run on other kernels, how, and what came of them.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{Clock, Kernel, OURS, Run, folder, in_guest};
use crate::{
    cargo::{Executable, binary, compile, root},
    libtest::{self, Outcome},
    step::{Step, minutes},
    tiers::FOR_GUESTS,
};

/// The test programs, and which of their tests say something of the kernel, in a time that
/// emulation allows.
const PROGRAMS: [(&str, &[&str]); 2] = [
    (
        "t3",
        &[
            "datapath::",
            "datapath_switch::",
            "flows::direct::",
            "fragments::fragmented_datagrams_from_outside_are_answered",
            "fuzz::",
            "instructions::",
            "lb0::ping::a_vip_answers_ping",
            "packet_affinity::a_client_outside_stays_with_its_backend",
            "packet_behaviour::load_balancer_addresses_answer",
            "packet_table::",
            "socket_reach::",
            "socket_state::",
        ],
    ),
    (FOR_GUESTS, &[]),
];
/// Theirs: other packages have test programs of the same name.
const PACKAGE: &str = "lb-tests";
/// Everything takes so many times as long as tests expect.
const PATIENCE: u32 = 10;
/// Of each seed.
const FUZZ_PACKETS: u32 = 2000;
/// All programs on one kernel.
const DEADLINE: Duration = Duration::from_mins(90);
/// Stands before what each program says.
const BEGINS: &str = "lb-guest: test program ";

/// Where the tree has what IPVS of each kernel chose (`tests/t5/ipvs.rs`), as `6.1.json`.
const RECORDS: &str = "tests/src/ipvs";
/// The file of a guest with it.
const RECORD: &str = "ipvs.json";

/// What the caller wants of them.
pub(crate) struct Asked {
    /// Only tests with one of these words in their names; all that a guest has time for, if empty.
    pub(crate) filter: Vec<String>,
    /// Whether what they find out about the kernel is written into the tree.
    pub(crate) record: bool,
}

/// Runs them on each kernel; success only if some test ran and all passed.
pub(super) fn run(kernels: &[Kernel], agent: &Path, asked: &Asked) -> Result<ExitCode> {
    let built = compiled()?;
    let mut total = Outcome::default();
    for kernel in kernels {
        let name = kernel.line.name();
        let begun = Instant::now();
        let outcome = on(kernel, agent, &built, asked)?;
        println!("Linux {name}: {outcome} ({})", minutes(begun.elapsed()));
        total.add(outcome);
    }
    if !total.failures.is_empty() {
        println!("\nfailures:\n{}", total.failures);
    }
    if total.passed + total.failed == 0 {
        println!("no test ran, which counts as failed");
        total.failed = 1;
    }
    let failed = total.failed as usize + total.ignored.len();
    println!("{} passed, {failed} failed", total.passed);
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn compiled() -> Result<Vec<Executable>> {
    // Of the whole workspace, or cargo would compile dependencies anew for each choice.
    let mut args = vec!["test", "--workspace", "--no-run"];
    args.extend(PROGRAMS.iter().flat_map(|(name, _)| ["--test", name]));
    compile(
        &Step::new("build-guest-tests", "building the tests")?,
        &args,
    )
}

fn on(kernel: &Kernel, agent: &Path, built: &[Executable], asked: &Asked) -> Result<Outcome> {
    let results = folder("results")?;
    let add = |payload: &mut super::Payload| {
        payload.built("probe", &binary(built, "probe")?)?;
        for (name, _) in PROGRAMS {
            let found = built
                .iter()
                .find(|one| one.is_test && one.package == PACKAGE && one.target == name);
            let path = &found
                .with_context(|| format!("cargo named no {name}"))?
                .path;
            payload.built(name, path)?;
        }
        Ok(())
    };
    let run = Run {
        results: results.path(),
        deadline: DEADLINE,
        clock: Clock::Real,
        progress: libtest::progress,
    };
    let ended = in_guest(kernel, agent, add, &script(asked), &run)?;
    for note in libtest::notes(&ended.said) {
        println!("    {note}");
    }
    let outcome = judged(kernel.line.name(), &ended.said);
    if asked.record && outcome.failures.is_empty() {
        let found = results.path().join(RECORD);
        let kept = root()?
            .join(RECORDS)
            .join(format!("{}.json", kernel.line.name()));
        fs::copy(&found, &kept).with_context(|| format!("keep {}", kept.display()))?;
        println!("    recorded: {}", kept.display());
    }
    Ok(outcome)
}

fn script(asked: &Asked) -> String {
    let mut text = format!("export LB_TEST_PATIENCE={PATIENCE} LB_FUZZ_PACKETS={FUZZ_PACKETS}\n");
    if asked.record {
        text += "export LB_RECORD_DIR=/out\n";
    }
    for (name, some) in PROGRAMS {
        let words = asked.filter.iter().map(String::as_str);
        // A filter of the caller applies to every binary.
        let names = if asked.filter.is_empty() {
            some.to_vec()
        } else {
            words.collect()
        };
        let words: Vec<String> = names.into_iter().map(super::quoted).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "echo '{BEGINS}{name}'\n{OURS}/{name} --color=never --test-threads=2 {}",
            words.join(" ")
        );
    }
    text
}

/// A program that died counts as one failed test.
fn judged(kernel: &str, said: &str) -> Outcome {
    let mut outcome = Outcome::default();
    for part in said.split(BEGINS).skip(1) {
        let name = part.lines().next().unwrap_or_default();
        let mut one = libtest::parse(part).unwrap_or_else(|| Outcome {
            failed: 1,
            failures: format!("{name} ended without a result; all it said:\n{part}"),
            ..Outcome::default()
        });
        if !one.failures.is_empty() {
            one.failures = format!("---- Linux {kernel}, {name} ----\n{}", one.failures);
        }
        outcome.add(one);
    }
    outcome
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn programs_are_judged_each_for_itself() {
        let said = format!(
            "boot\n{BEGINS}a\ntest x ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n\
             {BEGINS}b\ntest y ... \nSegmentation fault\n"
        );
        let outcome = judged("6.1", &said);
        assert_eq!((outcome.passed, outcome.failed), (1, 1));
        assert!(
            outcome.failures.contains("Linux 6.1, b"),
            "{}",
            outcome.failures
        );
    }
}
