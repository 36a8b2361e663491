//! The command `lb-agent`: parses, initialises, runs.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use lb_agent::{
    cli::{
        self,
        args::{Cli, Verb},
    },
    config::Config,
    logging, run,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lb-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> Result<ExitCode> {
    let Cli { verb, pins, run } = cli;
    match verb {
        None => {
            logging::init(run.log_format, &run.log_level)?;
            let config = Config::new(pins, run)?;
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
        Some(Verb::Cleanup(args)) => cli::cleanup::run(&args).map(done),
        Some(Verb::Completion { shell }) => cli::completion::run(shell).map(done),
        Some(Verb::Man { dir }) => cli::completion::man(&dir).map(done),
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
