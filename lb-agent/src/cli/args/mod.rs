//! The verbs of the command line. The doc comments are the help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::settings::flags::{CgroupArg, DeviceArgs, Flags, HealthArg, MetricsArg, Pins, StateArg};

/// Takes kube-proxy's place on this node, by eBPF.
///
/// Without a verb it runs in the foreground, in the cluster it finds itself in. Stopping it leaves the data path working;
/// only `lb-agent cleanup` removes that.
#[derive(Parser, Debug)]
#[command(
    name = "lb-agent",
    args_conflicts_with_subcommands = true,
    version,
    disable_help_subcommand = true,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs"
)]
pub struct Cli {
    /// Absent: run.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Where the pins are.
    #[command(flatten)]
    pub pins: Pins,
    /// For running.
    #[command(flatten)]
    pub run: Flags,
}

/// What to do instead of running.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Show what the kernel holds, from the pins alone: works when the agent is dead
    Get(Get),
    /// Say in a few lines how the data path and the agent are
    Status(Status),
    /// Find what this machine lacks: kernel features, capabilities, mounts
    Check(Check),
    /// Remove every program, link, map, device and route of the agent from this machine; or what kube-proxy left on it
    ///
    /// Ends with 0 when nothing is left, with 1 when something is or it refuses, with 2 when it is called wrongly.
    Cleanup(Cleanup),
    /// Print the completions of a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man {
        /// Made if it is not there
        dir: PathBuf,
    },
}

/// `lb-agent check`
#[derive(Args, Debug)]
pub struct Check {
    /// Its folder must be on a bpffs.
    #[command(flatten)]
    pub pins: Pins,
    /// Must be the root.
    #[command(flatten)]
    pub cgroup: CgroupArg,
    /// Must exist.
    #[command(flatten)]
    pub devices: DeviceArgs,
    /// Where a running agent tells its problems.
    #[command(flatten)]
    pub metrics: MetricsArg,
}

/// `lb-agent cleanup`
#[derive(Args, Debug)]
pub struct Cleanup {
    /// What is removed.
    #[command(flatten)]
    pub pins: Pins,
    /// What is removed.
    #[command(flatten)]
    pub state: StateArg,
    /// Remove kube-proxy's rules, sets, devices and tracked UDP connections instead, and nothing of the agent: run it after
    /// kube-proxy was stopped, while the agent runs. Open connections live on
    #[arg(long)]
    pub kube_proxy: bool,
    /// Only say what would be removed
    #[arg(long, requires = "kube_proxy")]
    pub dry_run: bool,
    /// Also while a kube-proxy runs, or without an agent's Services in its place
    #[arg(long, requires = "kube_proxy")]
    pub force: bool,
}

/// `lb-agent get`
#[derive(Args, Debug)]
pub struct Get {
    /// What is shown.
    #[command(flatten)]
    pub pins: Pins,
    /// Beside it: what the agent could not honour.
    #[command(flatten)]
    pub state: StateArg,
    /// What to show
    #[arg(value_enum)]
    pub what: What,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `lb-agent status`
#[derive(Args, Debug)]
pub struct Status {
    /// What is looked at.
    #[command(flatten)]
    pub pins: Pins,
    /// Who is asked.
    #[command(flatten)]
    pub health: HealthArg,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// What `get` shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum What {
    /// Frontends and their backends, as `ipvsadm -L -n` shows them
    Services,
    /// Every backend once
    Backends,
    /// Connections that the packet path translates
    Flows,
}

/// The letter of kubectl.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For people with a wide window
    Wide,
    /// For programs; stable
    Json,
}

#[cfg(test)]
mod tests;
