//! The log: standard error, as text or JSON, through a filter.

use std::{env, io::IsTerminal};

use anyhow::{Context as _, Result};
use tracing_subscriber::EnvFilter;

use crate::settings::values::LogFormat;

/// Sets up the log of this process, once. `RUST_LOG` is not read: the flag has its own variable.
pub fn init(format: LogFormat, filter: &str) -> Result<()> {
    let directives = directives(filter);
    let filter = EnvFilter::builder().parse(&directives).with_context(|| {
        format!(
            "--log-level {filter}: neither a level nor a filter such as info,lb_agent::watch=debug"
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .init(),
        LogFormat::Text => {
            builder.with_ansi(has_colour(&std::io::stderr())).init();
        }
    }
    Ok(())
}

/// May what is written here be coloured? On a terminal, unless the environment says no
/// (<https://no-color.org>).
pub fn has_colour(to: &impl IsTerminal) -> bool {
    to.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A level alone is for this agent: the libraries log much that does not help an operator, and the
/// watchers report failures of the API server's client once.
fn directives(filter: &str) -> String {
    let level = filter.trim();
    let others = match level {
        "debug" | "trace" => "info",
        "info" | "warn" | "error" => level,
        _ => return level.to_owned(),
    };
    format!("{others},lb_agent={level},kube_client=off")
}

#[cfg(test)]
mod tests {
    use super::directives;

    #[test]
    fn a_level_alone_is_ours_and_a_filter_is_taken_as_it_is() {
        assert_eq!(directives("debug"), "info,lb_agent=debug,kube_client=off");
        assert_eq!(directives("warn"), "warn,lb_agent=warn,kube_client=off");
        assert_eq!(directives("info,kube=debug"), "info,kube=debug");
    }
}
