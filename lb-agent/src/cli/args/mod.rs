//! The verbs of the command line. The doc comments are the help.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::get::Labels;
use crate::{
    model::Cidr,
    settings::flags::{
        CgroupArg, DeviceArgs, Flags, HealthArg, MetricsArg, Pins, SnatArgs, StateArg, period,
    },
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
    /// Show what each Service does now: connections, packets, bytes and refusals a second
    Top(Top),
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
    /// Before anything is installed: look at this node alone
    #[arg(long)]
    pub pre: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: CheckOutput,
}

/// How `check` shows what it finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum CheckOutput {
    /// Every line
    #[default]
    Table,
    /// Only what is not ok, and a count
    Short,
    /// For programs; stable
    Json,
}

/// `lb-agent top`
#[derive(Args, Debug)]
pub struct Top {
    /// What is read.
    #[command(flatten)]
    pub pins: Pins,
    /// Where the names are.
    #[command(flatten)]
    pub state: StateArg,
    /// Show one interval and end
    #[arg(long)]
    pub once: bool,
    /// Between two looks
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = period)]
    pub interval: Duration,
    /// Only Services of this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// What has the most comes first
    #[arg(long, value_enum, default_value_t)]
    pub sort_by: TopSort,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
}

/// What `top` sorts by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum TopSort {
    /// New connections a second
    #[default]
    Connections,
    /// Open connections
    Active,
    /// Packets a second
    Packets,
    /// Bytes a second
    Bytes,
    /// Refusals and drops a second
    Rejects,
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

/// `lb-agent explain`
#[derive(Args, Debug)]
pub struct Explain {
    /// What is read.
    #[command(flatten)]
    pub pins: Pins,
    /// Where the agent's socket and the names are.
    #[command(flatten)]
    pub state: StateArg,
    /// svc/NAME, svc/NAMESPACE/NAME, or: flow SOURCE DESTINATION
    #[arg(required = true, num_args = 1..=3, value_name = "SUBJECT")]
    pub subject: Vec<String>,
    /// Namespace of the Service
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Only this port of the Service, by name or number
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// For this client: pod/NAME, or an address
    #[arg(long, value_name = "pod/NAME|ADDRESS")]
    pub from: Option<String>,
    /// Read Services, EndpointSlices and Nodes from the YAML files in this directory, without an
    /// agent
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// With --manifests: the Node that it is explained for
    #[arg(long, value_name = "NAME", requires = "manifests")]
    pub node_name: Option<String>,
    /// With --manifests: networks from which externalIPs of Services are accepted, as by the agent
    #[arg(
        long,
        value_name = "CIDR",
        value_delimiter = ',',
        requires = "manifests"
    )]
    pub external_ip_cidrs: Vec<Cidr>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
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
    /// The Node that Services are planned for
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Networks from which externalIPs of Services are accepted, as by the agent
    #[arg(
        long,
        value_name = "CIDR",
        value_delimiter = ',',
        requires = "manifests"
    )]
    pub external_ip_cidrs: Vec<Cidr>,
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

/// For people, or for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Form {
    /// For people
    #[default]
    Table,
    /// For programs; stable
    Json,
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

/// `lb-agent get`
#[derive(Args, Debug)]
pub struct Get {
    /// What is shown.
    #[command(flatten)]
    pub pins: Pins,
    /// Beside it: names, Events, and Services that are only partly programmed.
    #[command(flatten)]
    pub state: StateArg,
    /// What to show
    #[arg(value_enum)]
    pub what: What,
    /// Only these: NAME or NAMESPACE/NAME of a Service or pod (`svc/NAME`, `pod/NAME` for one of
    /// the two), or ADDRESS, ADDRESS:PORT, `*:PORT`
    #[arg(value_name = "NAME|ADDRESS:PORT")]
    pub names: Vec<String>,
    /// Only what belongs to Services of this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Of all namespaces, which is the default
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Only what belongs to Services with these labels, such as `app=web,tier!=db`
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = Labels::parse)]
    pub selector: Option<Labels>,
    /// Go on, and show what changes
    #[arg(short, long)]
    pub watch: bool,
    /// Sort by this field of the JSON output, such as `activeConnections` or `service.name`
    #[arg(long, value_name = "FIELD")]
    pub sort_by: Option<String>,
    /// Leave the first line of tables out
    #[arg(long)]
    pub no_headers: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ListOutput,
}

#[cfg(test)]
impl Get {
    /// Of Services, with this output and nothing else said.
    pub(super) fn for_tests(output: ListOutput) -> Self {
        let Ok(Cli {
            verb: Some(Verb::Get(mut get)),
            ..
        }) = Cli::try_parse_from(["lb-agent", "get", "services"])
        else {
            unreachable!("these words are right")
        };
        get.output = output;
        get
    }
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
    #[value(aliases = ["service", "svc"])]
    Services,
    /// Every backend once
    #[value(alias = "backend")]
    Backends,
    /// Connections that the packet path translates
    #[value(alias = "flow")]
    Flows,
    /// Connections and senders that were translated at their sockets
    #[value(alias = "socket")]
    Sockets,
    /// Which backend each client of a sticky Service has
    Affinity,
    /// What the agent has reported: its last Events, also those that no API server took
    #[value(alias = "event")]
    Events,
}

/// The letter of kubectl, for lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum ListOutput {
    /// For people
    #[default]
    Table,
    /// For people with a wide window
    Wide,
    /// For programs; stable
    Json,
    /// The same as YAML
    Yaml,
    /// Names alone, for scripts
    Name,
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
