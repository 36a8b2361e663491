//! The command `lb-agent`: parses, initialises, runs.
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use lb_agent::{
    cli::{
        self,
        args::{Cli, Plugin, Verb},
    },
    logging, run,
    settings::{self, Config, file::ConfigFile},
};
use tracing::warn;

fn main() -> ExitCode {
    let ended = if is_plugin() {
        cli::kubectl::run(&Plugin::parse().kubectl)
    } else {
        start(Cli::parse())
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lb-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Under this name kubectl finds it for `kubectl lb`.
fn is_plugin() -> bool {
    let name = std::env::args_os().next().map(PathBuf::from);
    name.is_some_and(|name| name.file_stem() == Some("kubectl-lb".as_ref()))
}

fn start(cli: Cli) -> Result<ExitCode> {
    let Cli {
        verb,
        pins,
        run: flags,
    } = cli;
    match verb {
        None => {
            let file = flags.config.as_deref().map(ConfigFile::load).transpose()?;
            if flags.config_strict
                && let (Some(file), Some(path)) = (&file, flags.config.as_deref())
            {
                file.refuse_strangers(path)?;
            }
            let merged = settings::merge(flags.settings(pins)?, file.unwrap_or_default());
            let (format, filter) = merged.settings.log();
            logging::init(format, filter)?;
            if let Some(fields) = merged.warning() {
                warn!(fields, "--config: these fields have no meaning here");
            }
            for stranger in &merged.strangers {
                warn!("--config: {stranger}");
            }
            let config = Config::new(merged.settings, merged.raw)?;
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
        Some(Verb::Dump(args)) => cli::dump::run(&args).map(done),
        Some(Verb::Top(args)) => cli::top::run(&args).map(done),
        Some(Verb::Trace(args)) => cli::trace::run(&args).map(done),
        Some(Verb::Explain(args)) => cli::explain::run(&args),
        Some(Verb::Validate(args)) => cli::validate::run(&args),
        Some(Verb::Version(args)) => cli::version::run(&args).map(done),
        Some(Verb::Status(args)) => cli::status::run(&args),
        Some(Verb::Check(args)) => cli::check::run(&args),
        Some(Verb::Cleanup(args)) => cli::cleanup::run(&args),
        Some(Verb::Kubectl(args)) => cli::kubectl::run(&args),
        Some(Verb::Selftest(args)) => cli::selftest::run(&args),
        Some(Verb::SelftestPart(args)) => cli::selftest::run_part(&args),
        Some(Verb::TestService(args)) => cli::test_service::run(&args),
        Some(Verb::Completion { shell }) => cli::completion::run(shell).map(done),
        Some(Verb::Man { dir }) => cli::completion::man(&dir).map(done),
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
