//! The processes of the test, each this same program under a hidden verb.

use std::{
    io::{self, Read as _, Write as _},
    path::PathBuf,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::settings::flags::period;

/// Follows the link of the process that starts, so that it holds whatever is mounted over its file.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// The hidden verb.
const VERB: &str = "selftest-part";

/// `lb-agent selftest-part`
#[derive(Args, Debug)]
pub struct SelftestPart {
    /// Which one.
    #[command(subcommand)]
    pub part: Part,
}

/// One of the processes of `lb-agent selftest`.
#[derive(Subcommand, Debug)]
pub enum Part {
    /// Makes the room, and removes it however the others end
    Keeper {
        /// When it must be over
        #[arg(long, value_parser = period)]
        timeout: Duration,
    },
    /// The first process of the room: the node
    Stage {
        /// When it must be over
        #[arg(long, value_parser = period)]
        timeout: Duration,
        /// Its files and mounts
        #[arg(long)]
        room: PathBuf,
        /// Its cgroup
        #[arg(long)]
        cgroup: PathBuf,
    },
    /// A pod, a client, or a process of the node
    Host {
        /// Its cgroup
        #[arg(long)]
        cgroup: PathBuf,
        /// Whether it gets a network namespace
        #[arg(long)]
        own_network: bool,
    },
}

/// A command that becomes the part.
pub(super) fn command(part: &Part) -> Command {
    let mut command = Command::new(THIS_PROGRAM);
    command.arg(VERB).env_clear();
    let time = |timeout: &Duration| format!("{}ms", timeout.as_millis());
    match part {
        Part::Keeper { timeout } => command.args(["keeper", "--timeout", &time(timeout)]),
        Part::Stage {
            timeout,
            room,
            cgroup,
        } => command
            .args(["stage", "--timeout", &time(timeout), "--room"])
            .arg(room)
            .arg("--cgroup")
            .arg(cgroup),
        Part::Host {
            cgroup,
            own_network,
        } => {
            command.args(["host", "--cgroup"]).arg(cgroup);
            if *own_network {
                command.arg("--own-network");
            }
            &mut command
        }
    };
    command
}

/// Tells the process that started this one, which reads a line of JSON.
pub(super) fn say(message: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(message).context("encode JSON")?;
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("tell how it went")
}

/// Does this when standard input ends: whoever holds its other end has let go, or is gone.
pub(super) fn when_let_go(then: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        then();
    });
}

/// The agent's command: the same program, without any setting of this one's environment.
pub(super) fn agent() -> Command {
    let mut command = Command::new(THIS_PROGRAM);
    command.env_clear();
    command
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Verb};

    #[test]
    fn each_part_understands_its_command() {
        let timeout = Duration::from_millis(17_500);
        let (room, cgroup) = (PathBuf::from("/a b"), PathBuf::from("/c"));
        for part in [
            Part::Keeper { timeout },
            Part::Stage {
                timeout,
                room,
                cgroup: cgroup.clone(),
            },
            Part::Host {
                cgroup: cgroup.clone(),
                own_network: true,
            },
            Part::Host {
                cgroup,
                own_network: false,
            },
        ] {
            let command = command(&part);
            let line = [command.get_program()]
                .into_iter()
                .chain(command.get_args());
            let Some(Verb::SelftestPart(parsed)) = Cli::try_parse_from(line).unwrap().verb else {
                panic!("another verb");
            };
            assert_eq!(format!("{:?}", parsed.part), format!("{part:?}"));
        }
    }
}
