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
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("start the runtime")?
                .block_on(run::run(config))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Verb::Get(get)) => cli::get::run(&get, &pins.bpf_dir).map(|()| ExitCode::SUCCESS),
        Some(Verb::Completion { shell }) => cli::completion::run(shell).map(|()| ExitCode::SUCCESS),
        Some(Verb::Man { dir }) => cli::completion::man(&dir).map(|()| ExitCode::SUCCESS),
        Some(Verb::Status(status)) => cli::status::run(&status, &pins, &run),
        Some(Verb::Check) => cli::check::run(&pins, &run),
        Some(Verb::Cleanup) => {
            cli::cleanup::run(&pins.bpf_dir, &run.state_dir).map(|()| ExitCode::SUCCESS)
        }
    }
}
