//! What the demo prints: titles, words, commands with their real output.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result, bail};
use testbed::{host::Host, process::Output};

/// Bold for titles, green for prompts, on a terminal.
fn styled(code: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// The head of a chapter.
pub(crate) fn title(text: &str) {
    println!("\n{}", styled("1", &format!("── {text} ──")));
}

/// A sentence to read.
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// A command line as if typed there.
pub(crate) fn prompt(who: &str, line: &str) {
    println!("{} {line}", styled("32", &format!("{who} $")));
}

/// Some lines of output; the rest is said to be left out.
pub(crate) fn lines(text: &str, at_most: usize) {
    let all: Vec<&str> = text.trim_end().lines().collect();
    for line in all.iter().take(at_most) {
        println!("  {line}");
    }
    if all.len() > at_most {
        println!("  … {} lines more", all.len() - at_most);
    }
}

/// Runs a shell's line there and shows it with what it says; it must succeed.
pub(crate) fn run(who: &str, host: &Host, line: &str) -> Result<String> {
    run_as(who, host, line, line, 40)
}

/// The same, where the line that is shown is not quite the one that is run.
pub(crate) fn run_as(
    who: &str,
    host: &Host,
    shown: &str,
    line: &str,
    at_most: usize,
) -> Result<String> {
    prompt(who, shown);
    let Output {
        stdout,
        stderr,
        status,
    } = host.output(&["sh", "-c", line])?;
    lines(&stdout, at_most);
    if !status.success() {
        lines(&stderr, at_most);
        bail!("`{shown}` failed: {status}");
    }
    Ok(stdout)
}

/// The answer to the question how many different names there are in `uniq -c`'s output, which must
/// be so many.
pub(crate) fn expect_names(counted: &str, names: &[&str]) -> Result<()> {
    let found: Vec<&str> = counted
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    let same = found.len() == names.len() && names.iter().all(|name| found.contains(name));
    same.then_some(())
        .with_context(|| format!("{found:?} answered, not {names:?}"))
}
