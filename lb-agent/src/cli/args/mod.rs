//! The verbs of the command line. The doc comments are the help.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::settings::flags::{
    CgroupArg, DeviceArgs, Flags, HealthArg, MetricsArg, Pins, SnatArgs, StateArg, period,
};

/// Replaces kube-proxy on this node, with eBPF.
///
/// Without a verb it runs in the foreground and serves the cluster it runs in. Stopping it leaves
/// the data path working; only `lb-agent cleanup` removes that.
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
    /// Show what the kernel holds, read from the pins: works without a running agent
    Get(Get),
    /// Show the health of the agent and the data path
    Status(Status),
    /// List what the node is missing: kernel features, capabilities, mounts
    Check(Check),
    /// Remove every program, link, map, device and route of the agent from this node; or
    /// kube-proxy's leftovers
    ///
    /// Exits with 0 if nothing is left, with 1 if something is left or the verb refuses, with 2 on
    /// wrong usage.
    Cleanup(Cleanup),
    /// From a pod: reach a Service by its DNS name, ClusterIPs and node ports
    ///
    /// Asks the API server with the pod's ServiceAccount, which must be allowed to get Services and
    /// list Nodes. TCP ports only. Exits with 1 if a way to the Service fails.
    TestService(TestService),
    /// Print the completions of a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man {
        /// Created if it does not exist
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
    /// Must be enough.
    #[command(flatten)]
    pub snat: SnatArgs,
    /// Where a running agent reports its problems.
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
    /// Remove kube-proxy's rules, sets, devices and tracked UDP connections instead, and nothing
    /// of the agent. Stop kube-proxy first and leave the agent running; open connections stay
    /// open
    #[arg(long)]
    pub kube_proxy: bool,
    /// Only print what would be removed
    #[arg(long, requires = "kube_proxy")]
    pub dry_run: bool,
    /// Do it even if kube-proxy is running, or if the agent holds no Services
    #[arg(long, requires = "kube_proxy")]
    pub force: bool,
}

/// `lb-agent get`
#[derive(Args, Debug)]
pub struct Get {
    /// What is shown.
    #[command(flatten)]
    pub pins: Pins,
    /// Beside it: Services that are only partly programmed.
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

/// `lb-agent test-service`
#[derive(Args, Debug)]
pub struct TestService {
    /// The Service
    #[arg(value_name = "NAMESPACE/NAME")]
    pub service: ServiceName,
    /// Ask each address for this path, and want status 200; without it a connection is enough
    #[arg(long, value_name = "PATH")]
    pub http_path: Option<String>,
    /// How long to try
    #[arg(long, value_name = "DURATION", value_parser = period, default_value = "60s")]
    pub timeout: Duration,
}

/// A Service by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its name in it.
    pub name: String,
}

impl FromStr for ServiceName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err("not of the form NAMESPACE/NAME, such as default/kubernetes"),
        }
    }
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
