//! The command `lb-agent`: parses, initialises, runs.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, FromArgMatches as _, parser::ValueSource};
use lb_agent::{
    cli::{
        self,
        args::{Cli, Verb},
    },
    logging, run,
    settings::{Config, file::KubeProxy},
};
use tracing::warn;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let given = |flag: &str| {
        let source = matches.value_source(flag);
        source.is_some_and(|source| source != ValueSource::DefaultValue)
    };
    match start(cli, given) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lb-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `given` tells whether a flag, by its field, was set on the command line or by its variable.
fn start(cli: Cli, given: impl Fn(&str) -> bool) -> Result<ExitCode> {
    let Cli {
        verb,
        pins,
        mut run,
    } = cli;
    match verb {
        None => {
            let file = run.config.as_deref().map(KubeProxy::load).transpose()?;
            let mut file = file.unwrap_or_default();
            file.fill(&mut run, given);
            logging::init(run.log_format, &run.log_level)?;
            if let Some(fields) = file.warning() {
                warn!(fields, "--config: these fields have no meaning here");
            }
            let config = Config::new(pins, run, file)?;
            lb_sys::keep_heap_small();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("start the runtime")?;
            let ended = runtime.block_on(run::run(config));
            // A reader in the middle of a large file must not hold up the end.
            runtime.shutdown_background();
            ended?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Verb::Get(args)) => cli::get::run(&args).map(done),
        Some(Verb::Status(args)) => cli::status::run(&args),
        Some(Verb::Check(args)) => cli::check::run(&args),
        Some(Verb::Cleanup(args)) => cli::cleanup::run(&args),
        Some(Verb::Completion { shell }) => cli::completion::run(shell).map(done),
        Some(Verb::Man { dir }) => cli::completion::man(&dir).map(done),
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
