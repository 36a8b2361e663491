//! `cargo xtask test`: compiles the tests of the chosen tiers, runs them, and sums up.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    build,
    cargo::{Executable, cargo, compile, metadata, root},
    leftovers::{self, Leftover},
    libtest::{self, Outcome},
    setup::{self, Needs, Ready},
    step::{Step, minutes},
    tiers::{Tier, cargo_args, no_strays, tier_of},
};

/// How much of what a test can show is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// What there is time for each time.
    Suite,
    /// As many connections as a busy node has.
    Soak,
}

/// Which tests are to run, and how.
pub(crate) struct Asked<'a> {
    /// Only tests whose names contain one of these; all for none.
    pub(crate) filter: &'a [String],
    pub(crate) size: Size,
    /// What they are told besides.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// Runs the tiers in order; success only if some test ran, all passed, and nothing stayed behind.
pub(crate) fn run(numbers: &[u8], asked: &Asked<'_>) -> Result<ExitCode> {
    let tiers = Tier::chosen(numbers);
    let needs = tiers
        .iter()
        .map(|tier| tier.needs())
        .fold(Needs::default(), |all, one| Needs {
            ebpf: all.ebpf || one.ebpf,
            clippy: false,
            machine: all.machine || one.machine,
            control_plane: all.control_plane || one.control_plane,
            nodes: all.nodes || one.nodes,
            suite: all.suite || one.suite,
            guests: false,
            browser: all.browser || one.browser,
            previous: all.previous || one.previous,
        });
    let ready = setup::ensure(needs)?;
    let agent = if needs.machine {
        Some(build::agent()?)
    } else {
        None
    };
    let programs = compile_tests(&tiers)?;

    let before = leftovers::find();
    let mut summary = Vec::new();
    let mut total = Outcome::default();
    for tier in tiers {
        let start = Instant::now();
        let outcome = run_tier(tier, &programs, &ready, agent.as_deref(), asked)?;
        summary.push((tier, outcome.clone(), start.elapsed()));
        total.add(outcome);
    }
    let left: Vec<_> = leftovers::find()
        .into_iter()
        .filter(|found| !before.contains(found))
        .collect();
    Ok(report(&summary, total, &left))
}

fn compile_tests(tiers: &[Tier]) -> Result<Vec<(Tier, Executable)>> {
    no_strays(&metadata()?)?;
    let args = cargo_args(tiers);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut programs = Vec::new();
    for program in compile(&Step::new("build-tests", "building the tests")?, &args)? {
        if let Some(tier) = tier_of(&program)? {
            programs.push((tier, program));
        }
    }
    programs.sort_by(|(_, a), (_, b)| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    Ok(programs)
}

fn run_tier(
    tier: Tier,
    programs: &[(Tier, Executable)],
    ready: &Ready,
    agent: Option<&Path>,
    asked: &Asked<'_>,
) -> Result<Outcome> {
    println!("tier {}: {}", tier as u8, tier.title());
    let mut outcome = Outcome::default();
    for (_, program) in programs.iter().filter(|(of, _)| *of == tier) {
        let mut command = test_command(tier, program, ready, agent, asked);
        command.args(asked.filter);
        let name = format!("{} {}", program.package, program.target);
        outcome.add(run_program(&name, (tier, asked.size), &mut command)?);
    }
    if tier == Tier::Unit && asked.filter.is_empty() {
        let mut command = cargo()?;
        command.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
        outcome.add(run_program("doc tests", (tier, asked.size), &mut command)?);
    }
    Ok(outcome)
}

/// As cargo would start it, but as root where the tier needs that.
fn test_command(
    tier: Tier,
    program: &Executable,
    ready: &Ready,
    agent: Option<&Path>,
    asked: &Asked<'_>,
) -> Command {
    let mut environment = ready.environment(agent);
    for (name, value) in &asked.environment {
        environment.push((name, value.into()));
    }
    if asked.size == Size::Soak {
        environment.push(("LB_TEST_SOAK", "1".into()));
    }
    environment.push(("CARGO_MANIFEST_DIR", program.package_dir.clone().into()));
    environment.push(("CARGO_TERM_COLOR", "never".into()));
    if let Some(workspace) = program.package_dir.parent() {
        environment.push(("INSTA_WORKSPACE_ROOT", workspace.into()));
    }
    let mut command = if tier.needs().machine {
        ready.as_root(&program.path, &environment)
    } else {
        let mut command = Command::new(&program.path);
        command.envs(environment);
        command
    };
    command
        .current_dir(&program.package_dir)
        .arg("--color=never");
    let threads = env::var("LB_TEST_THREADS")
        .ok()
        .and_then(|number| number.parse().ok());
    // What is measured in connections a second has the machine to itself.
    let default = match asked.size {
        Size::Suite => tier.default_threads(),
        Size::Soak => Some(1),
    };
    if let Some(default) = default {
        command.arg(format!("--test-threads={}", threads.unwrap_or(default)));
    }
    command
}

/// A program that dies, hangs, or says one thing and exits with another counts as one failed test.
fn run_program(name: &str, (tier, size): (Tier, Size), command: &mut Command) -> Result<Outcome> {
    let start = Instant::now();
    let step = Step::new(&format!("test-{}", name.replace(' ', "-")), name)?;
    let (mut deadline, limit) = (tier.deadline(), tier.limit());
    // One test may take all the time that there is.
    if size == Size::Soak {
        deadline = limit;
    }
    let status = step.run_while_it_moves(command, deadline, limit, libtest::progress)?;
    let said = std::fs::read_to_string(step.log()).unwrap_or_default();
    let parsed = libtest::parse(&said);
    let is_whole = parsed.is_some();
    let mut outcome = parsed.unwrap_or_else(|| libtest::before_death(&said));
    let broken = match status {
        None => Some(format!(
            "killed: no test ended within {}, or it ran for {} altogether",
            minutes(deadline),
            minutes(limit)
        )),
        Some(status) if !status.success() && (outcome.failed == 0 || !is_whole) => {
            Some(format!("ended with {status}"))
        }
        Some(_) if !is_whole => Some("ended without a result".to_owned()),
        Some(_) => None,
    };
    if let Some(how) = broken {
        outcome.failed += 1;
        let title = format!("---- {name} {how}; all it said ----");
        outcome.failures += &["\n", &title, "\n", &said, "\n"].concat();
    }
    if outcome.passed + outcome.failed > 0 {
        println!("  {name}: {outcome} ({})", minutes(start.elapsed()));
    }
    for note in libtest::notes(&said) {
        println!("    {note}");
    }
    if outcome.failed > 0 {
        println!("    log: {}", shortened(step.log()).display());
    }
    Ok(outcome)
}

fn shortened(path: &Path) -> PathBuf {
    let root = root().unwrap_or_default();
    path.strip_prefix(root).unwrap_or(path).to_owned()
}

/// Says all that went wrong, the count of each tier, and last the line that machines read.
fn report(summary: &[(Tier, Outcome, Duration)], total: Outcome, left: &[Leftover]) -> ExitCode {
    let Outcome {
        passed,
        mut failed,
        ignored,
        failures,
    } = total;
    if !failures.is_empty() {
        println!("\nfailures:\n{failures}");
    }
    for name in &ignored {
        println!("ignored, which counts as failed: {name}");
    }
    for thing in left {
        println!(
            "left behind by the tests: {thing} (`cargo xtask clean --keep-target` removes it)"
        );
    }
    if passed + failed == 0 {
        println!("no test ran, which counts as failed");
        failed = 1;
    }
    println!();
    for (tier, outcome, time) in summary {
        println!(
            "tier {} {:<22} {:>5} passed {:>3} failed {:>3} ignored  {}",
            *tier as u8,
            tier.title(),
            outcome.passed,
            outcome.failed,
            outcome.ignored.len(),
            minutes(*time)
        );
    }
    let failed = failed as usize + ignored.len() + left.len();
    println!("{passed} passed, {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
