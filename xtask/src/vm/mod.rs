//! `cargo xtask vm`: tests of the real kernel, or a command, in guests with other kernels.

mod archive;
mod guest;
mod kernel;
mod modules;
mod payload;
mod tests;

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
pub(crate) use guest::{Clock, Run, last_line, words};
pub(crate) use kernel::{Kernel, Line};
pub(crate) use payload::{OURS, Payload};
use tempfile::TempDir;
pub(crate) use tests::Asked;

use crate::{
    build,
    setup::{self, Needs},
    step::Step,
};

/// What guests need on this machine, and building what runs in them.
pub(crate) const NEEDS: Needs = Needs {
    ebpf: true,
    clippy: false,
    machine: true,
    control_plane: false,
    nodes: false,
    suite: false,
    guests: true,
    browser: false,
    previous: false,
};

/// No command of a user's takes longer.
const COMMAND: Duration = Duration::from_mins(30);

/// The tests on each kernel, or the command on each.
pub(crate) fn run(lines: &[Line], asked: &Asked, command: &[String]) -> Result<ExitCode> {
    setup::ensure(NEEDS)?;
    let all = [Line::Floor, Line::Newer];
    let lines = if lines.is_empty() { &all[..] } else { lines };
    let kernels = lines
        .iter()
        .map(|&line| Kernel::of(line))
        .collect::<Result<Vec<_>>>()?;
    // As tests do: the caller may name a binary that is built already.
    let agent =
        std::env::var_os("LB_AGENT_BIN").map_or_else(build::agent, |path| Ok(path.into()))?;
    if command.is_empty() {
        return tests::run(&kernels, &agent, asked);
    }
    let mut code = ExitCode::SUCCESS;
    for kernel in &kernels {
        if let Some(status) = show(kernel, &agent, command)? {
            code = ExitCode::from(status);
        }
    }
    Ok(code)
}

/// Starts a guest with what every guest has, and what `add` adds. `script` is run by a shell.
pub(crate) fn in_guest(
    kernel: &Kernel,
    agent: &Path,
    add: impl FnOnce(&mut Payload) -> Result<()>,
    script: &str,
    run: &Run<'_>,
) -> Result<guest::Ended> {
    let name = kernel.line.name();
    eprintln!("Linux {name}: putting the guest together");
    let mut payload = Payload::new(kernel, &setup::programs())?;
    payload.built("lb-agent", agent)?;
    add(&mut payload)?;
    let script = format!(
        "export PATH={OURS}:$PATH LB_AGENT_BIN={OURS}/lb-agent RUST_BACKTRACE=0 CI=1\n{script}"
    );
    let step = Step::new(&format!("guest-{name}"), format!("Linux {name}"))?;
    guest::run(kernel, payload, &script, &step, run)
}

/// The command's own words, and its exit status where that is not 0.
fn show(kernel: &Kernel, agent: &Path, command: &[String]) -> Result<Option<u8>> {
    let results = folder("results")?;
    let line: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    let run = Run {
        results: results.path(),
        deadline: COMMAND,
        clock: Clock::Real,
        progress: last_line,
    };
    let ended = in_guest(kernel, agent, |_| Ok(()), &line.join(" "), &run)?;
    println!("{}", words(&ended.said));
    Ok((ended.status != 0).then(|| u8::try_from(ended.status).unwrap_or(1)))
}

/// As everything that may be left behind by a run that is broken off: `cargo xtask clean` finds it.
pub(crate) fn folder(role: &str) -> Result<TempDir> {
    let prefix = format!("lbt-{}-{role}", std::process::id());
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir();
    folder.context("make a folder for the guest")
}

/// As one word of a shell's line.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod unit {
    #[test]
    fn a_shell_takes_a_quoted_word_for_one() {
        assert_eq!(super::quoted("it's $x"), "'it'\\''s $x'");
    }
}
