//! The reading of what Rust's test harness prints.

use std::fmt;

/// What one or more test programs reported; displayed as its counts.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Tests that passed.
    pub(crate) passed: u32,
    /// Tests that failed.
    pub(crate) failed: u32,
    /// Names of tests that were not run though nothing filtered them out.
    pub(crate) ignored: Vec<String>,
    /// What the failed ones printed.
    pub(crate) failures: String,
}

impl Outcome {
    /// Adds what another program reported.
    pub(crate) fn add(&mut self, other: Self) {
        let Self {
            passed,
            failed,
            ignored,
            failures,
        } = other;
        self.passed += passed;
        self.failed += failed;
        self.ignored.extend(ignored);
        self.failures.push_str(&failures);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            ignored,
            failures: _,
        } = self;
        write!(
            f,
            "{passed} passed, {failed} failed, {} ignored",
            ignored.len()
        )
    }
}

/// Reads a harness's output; `None` if it ended before its closing line.
pub(crate) fn parse(output: &str) -> Option<Outcome> {
    let mut outcome = Outcome::default();
    let mut results = 0;
    // The harness prints "failures:" twice: before what they printed, and before their mere names.
    let mut in_failures = 0;
    for line in output.lines() {
        if let Some(counts) = line.strip_prefix("test result: ") {
            results += 1;
            in_failures = 0;
            outcome.passed += count(counts, "passed")?;
            outcome.failed += count(counts, "failed")?;
        } else if line == "failures:" {
            in_failures += 1;
        } else if in_failures == 1 {
            outcome.failures.push_str(line);
            outcome.failures.push('\n');
        } else if let Some(name) = line.strip_prefix("test ").and_then(ignored_name) {
            outcome.ignored.push(name);
        }
    }
    (results > 0).then_some(outcome)
}

/// What passed and failed in the output of a program that died before its closing line.
pub(crate) fn before_death(output: &str) -> Outcome {
    let mut outcome = Outcome::default();
    for line in output.lines().filter(|line| line.starts_with("test ")) {
        match line.rsplit_once(" ... ") {
            Some((_, "ok")) => outcome.passed += 1,
            Some((_, "FAILED")) => outcome.failed += 1,
            _ => {}
        }
    }
    outcome
}

/// Begins a line that a test wants to be read, whether or not it passes.
const NOTE: &str = "note: ";

/// The lines that tests want to be read.
pub(crate) fn notes(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter_map(|line| line.strip_prefix(NOTE))
}

/// The latest test that ended, for a progress line.
pub(crate) fn progress(output: &str) -> String {
    let ended = |line: &&str| line.starts_with("test ") && line.contains(" ... ");
    output
        .lines()
        .rev()
        .find(ended)
        .unwrap_or_default()
        .to_owned()
}

/// From "ok. 11 passed; 0 failed; …", the number before the word.
fn count(counts: &str, what: &str) -> Option<u32> {
    let mut words = counts.split([' ', ';']).filter(|word| !word.is_empty());
    let mut before = "";
    words.find_map(|word| {
        let number = (word == what).then(|| before.parse().ok()).flatten();
        before = word;
        number
    })
}

fn ignored_name(rest: &str) -> Option<String> {
    let (name, result) = rest.split_once(" ... ")?;
    // Some harnesses fill names up to one length.
    result
        .starts_with("ignored")
        .then(|| name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &str = "
running 4 tests
test a::passes ... ok
test a::waits ... ignored, needs time
test a::breaks ... FAILED
test a::breaks_too ... FAILED

failures:

---- a::breaks stdout ----
assertion failed: left == right
---- a::breaks_too stdout ----
oh no

failures:
    a::breaks
    a::breaks_too

test result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 5 filtered out; finished in 0.01s

";

    #[test]
    fn notes_are_the_lines_that_begin_so() {
        let output = "test a ... ok\nnote: 5 instructions\nat note: none\nnote:   6\n";
        let found: Vec<&str> = notes(output).collect();
        assert_eq!(found, ["5 instructions", "  6"]);
    }

    #[test]
    fn counts_names_and_words_of_a_failed_run() {
        let outcome = parse(FAILED).unwrap();
        assert_eq!((outcome.passed, outcome.failed), (1, 2));
        assert_eq!(outcome.ignored, ["a::waits"]);
        assert!(
            outcome
                .failures
                .contains("---- a::breaks stdout ----\nassertion failed")
        );
        assert!(outcome.failures.contains("oh no"));
        assert!(
            !outcome.failures.contains("    a::breaks_too"),
            "the list of names is left out"
        );
    }

    #[test]
    fn the_output_of_libtest_mimic_reads_the_same() {
        let outcome = parse(
            "
running 3 tests
test cases::udp      ... ok
test cases::headless ... FAILED
test cases::sctp     ... ignored

failures:

---- cases::headless ----
SlicesFirst: not as in headless.case


failures:
    cases::headless

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

",
        )
        .unwrap();
        assert_eq!((outcome.passed, outcome.failed), (1, 1));
        assert_eq!(outcome.ignored, ["cases::sctp"]);
        assert!(
            outcome
                .failures
                .contains("---- cases::headless ----\nSlices")
        );
        assert!(!outcome.failures.contains("    cases::headless"));
    }

    #[test]
    fn several_programs_in_one_output_are_added_up() {
        let two = "test result: ok. 3 passed; 0 failed; 0 ignored\n\
                   test result: ok. 4 passed; 0 failed; 0 ignored\n";
        assert_eq!(parse(two).unwrap().passed, 7);
    }

    #[test]
    fn a_program_that_died_has_no_outcome() {
        let said = "running 3 tests\ntest a ... ok\ntest b ... FAILED\nboom\n";
        assert_eq!(parse(said), None);
        assert_eq!(parse(""), None);
        let Outcome { passed, failed, .. } = before_death(said);
        assert_eq!((passed, failed), (1, 1));
    }

    #[test]
    fn progress_names_the_test_that_ended_last() {
        assert_eq!(
            progress("test a ... ok\ntest b ... ok\nsome words\n"),
            "test b ... ok"
        );
        assert_eq!(progress("running 2 tests\n"), "");
    }
}
