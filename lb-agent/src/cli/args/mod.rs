//! The verbs of the command line. The doc comments are the help.

mod kubectl;
mod lists;
mod output;
mod service;
mod trace;
mod views;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
pub use kubectl::{Agents, Kubectl, NodesVerb, Plugin, TopOnNodes};
pub use lists::{Get, ListArgs, RateArgs, Top, TopSort, What};
pub use output::{CheckOutput, Form, ListOutput, Output};
pub use service::{Explain, OfflineArgs, ServiceName, SubjectArgs, TestService};
pub use trace::{Party, Trace, TraceHook};
pub use views::{View, ViewArgs};

pub use super::selftest::part::SelftestPart;
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
    /// Show why the clients of a Service, or one connection, go where they go
    ///
    /// `explain svc/NAME` asks the running agent for the Service's frontends, its policies, and for
    /// each endpoint the rule that admits or excludes it; with --manifests it reads YAML files
    /// instead. `explain flow SOURCE DESTINATION` tells from the pins which frontend a connection
    /// meets and what it gets: SOURCE is ADDRESS or ADDRESS:PORT, DESTINATION is
    /// ADDRESS:PORT[/PROTOCOL].
    Explain(Explain),
    /// Show the health of the agent and the data path
    ///
    /// Exits with 1 when no agent runs or no program is attached.
    Status(Status),
    /// List what the node is missing: kernel features, capabilities, mounts
    ///
    /// Exits with 1 if something that is needed is missing.
    Check(Check),
    /// Show what each Service does now: connections, packets, bytes and refusals a second, and what
    /// its clients on this node meet
    ///
    /// RTT is the mean round trip time of the TCP handshakes of the interval; FAILED/S are connects
    /// that a backend refused or did not answer, RETRANS/S segments sent once more: of translated
    /// sockets of this node alone, `-` where none is. On a terminal it stays, and has keys (`?`
    /// shows them); elsewhere, or with --once, it prints tables. Without colour where NO_COLOR is
    /// set.
    Top(Top),
    /// Show each decision about a connection or packet as it is made, with its reason
    ///
    /// Costs nothing while nobody looks, and ends with this process. Several may look at once, each
    /// at its own. A socket that connects has no address yet: its client is shown by its process,
    /// and by its pod's address where this process may look into network namespaces.
    Trace(Trace),
    /// Write everything that a bug report needs into an archive, without secrets
    Dump(Dump),
    /// Read manifests or a configuration file as the agent reads them, and run nothing
    ///
    /// Names each problem with file and line, or with the object. Exits with 1 if there is one.
    Validate(Validate),
    /// Show the versions of this binary, of the running agent, of the kernel and of the maps
    Version(Version),
    /// Remove every program, link, map, device and route of the agent from this node; or
    /// kube-proxy's leftovers
    ///
    /// Exits with 0 if nothing is left, with 1 if something is left or the verb refuses, with 2 on
    /// wrong usage.
    Cleanup(Cleanup),
    /// See whether this machine carries Services: one of each kind, in namespaces of its own, for
    /// some seconds
    ///
    /// Starts the agent once more beside a network of its own: a node, pods and a client outside,
    /// joined by veth devices. Real sockets and packets ask a Service of each kind, in both families.
    /// It touches neither the network of this node nor a running agent, and leaves nothing. Needs
    /// root, or the agent's capabilities and CAP_SYS_ADMIN. Exits with 1 if a check fails, with 2 if
    /// the machine does not let it run.
    Selftest(Selftest),
    /// A process of `selftest`
    #[command(hide = true)]
    SelftestPart(SelftestPart),
    /// From a pod: reach a Service by its DNS name, ClusterIPs and node ports
    ///
    /// Asks the API server with the pod's ServiceAccount, which must be allowed to get Services and
    /// list Nodes. TCP ports only. Exits with 1 if a way to the Service fails.
    TestService(TestService),
    /// Ask the agents of all nodes, from outside of the cluster; also as `kubectl lb`
    ///
    /// Runs a verb in the agents' pods by the API server, as `kubectl exec` does, and shows the
    /// answers together. A link `kubectl-lb` to this binary on the PATH is the plugin of kubectl.
    /// Exits with 1 if the verb does so on some node, with 3 if a node does not answer.
    Kubectl(Kubectl),
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
    /// Before anything is installed: look at this node alone
    #[arg(long)]
    pub pre: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: CheckOutput,
}

/// `lb-agent dump`
#[derive(Args, Debug)]
pub struct Dump {
    /// What is read.
    #[command(flatten)]
    pub pins: Pins,
    /// What is read.
    #[command(flatten)]
    pub state: StateArg,
    /// Where the agent is asked for its health.
    #[command(flatten)]
    pub health: HealthArg,
    /// Where the agent is asked for metrics and configuration.
    #[command(flatten)]
    pub metrics: MetricsArg,
    /// The agent's log, to be added too
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// The archive to write, which must not exist yet; - is standard output
    #[arg(value_name = "FILE.tar.gz|-")]
    pub file: PathBuf,
}

/// `lb-agent validate`
#[derive(Args, Debug)]
#[group(required = true, multiple = true, args = ["manifests", "config"])]
pub struct Validate {
    /// A YAML file, or a directory of YAML files, as for --manifests
    #[arg(value_name = "DIR|FILE")]
    pub manifests: Option<PathBuf>,
    /// A KubeProxyConfiguration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Refuse what the agent refuses with --config-strict
    #[arg(long, requires = "config")]
    pub config_strict: bool,
    /// How manifests are planned.
    #[command(flatten)]
    pub offline: OfflineArgs,
}

/// `lb-agent version`
#[derive(Args, Debug)]
pub struct Version {
    /// Whose layouts are shown.
    #[command(flatten)]
    pub pins: Pins,
    /// Where a running agent is asked.
    #[command(flatten)]
    pub metrics: MetricsArg,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
}

/// `lb-agent selftest`
#[derive(Args, Debug)]
pub struct Selftest {
    /// When it must be over; the removal of what it made may take 10s more
    #[arg(long, value_name = "DURATION", value_parser = period, default_value = "20s")]
    pub timeout: Duration,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
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
    #[arg(long)]
    pub dry_run: bool,
    /// Do it even if kube-proxy is running, or if the agent holds no Services
    #[arg(long, requires = "kube_proxy")]
    pub force: bool,
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
    /// Wait at most so long for an agent that is ready and whose programs are attached
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "60s", require_equals = true, value_parser = period)]
    pub wait: Option<Duration>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[cfg(test)]
mod pages;
#[cfg(test)]
mod tests;
