//! Tier 2: conversion, model, plan and sync; the maps are in memory and check the ABI's rules at
//! every write. Files are tests here, so the harness is libtest-mimic. It takes one word to filter
//! by; this program takes several.

mod cases;
mod ipvs;
mod scale;

use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

/// Flags of the harness with a value of their own behind them.
const WITH_VALUE: [&str; 5] = [
    "--test-threads",
    "--skip",
    "--format",
    "--color",
    "--logfile",
];

fn main() -> ExitCode {
    let (flags, words) = sorted(std::env::args());
    let arguments = Arguments::from_iter(flags);
    let mut trials = match cases::trials() {
        Ok(trials) => trials,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    trials.extend(scale::trials());
    trials.extend(ipvs::trials());
    if !words.is_empty() {
        trials.retain(|trial| {
            words
                .iter()
                .any(|word| is_meant(trial.name(), word, arguments.exact))
        });
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: String, run: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, || {
        run().map_err(|error| Failed::from(format!("{error:#}")))
    })
}

fn is_meant(name: &str, word: &str, exact: bool) -> bool {
    if exact {
        name == word
    } else {
        name.contains(word)
    }
}

/// The harness's flags, the program's name before them, and the words to filter by.
fn sorted(args: impl Iterator<Item = String>) -> (Vec<String>, Vec<String>) {
    let (mut flags, mut words) = (Vec::new(), Vec::new());
    let mut is_value = true;
    for arg in args {
        if is_value || arg.starts_with('-') {
            is_value = !is_value && WITH_VALUE.contains(&arg.as_str());
            flags.push(arg);
        } else {
            words.push(arg);
        }
    }
    (flags, words)
}
