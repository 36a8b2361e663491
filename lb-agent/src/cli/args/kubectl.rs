//! Arguments of `lb-agent kubectl`, which is also `kubectl lb`: verbs over all nodes.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use super::{CheckOutput, Form, ListOutput, Output, TopSort, What};
use crate::{cli::get::Labels, settings::flags::period};

/// Asks the lb-agent of every node of a cluster
///
/// Runs a verb of lb-agent in the agents' pods, by the API server, and shows the answers together.
/// Exits with 1 if the verb does so on some node, with 3 if a node does not answer.
#[derive(Parser, Debug)]
#[command(
    name = "kubectl-lb",
    bin_name = "kubectl lb",
    version,
    disable_help_subcommand = true,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs"
)]
pub struct Plugin {
    /// As of the verb.
    #[command(flatten)]
    pub kubectl: Kubectl,
}

/// `lb-agent kubectl`
#[derive(Args, Debug)]
pub struct Kubectl {
    /// Whom to ask.
    #[command(flatten)]
    pub agents: Agents,
    /// What to ask.
    #[command(subcommand)]
    pub verb: NodesVerb,
}

/// Which agents are asked, and how.
#[derive(Args, Debug)]
pub struct Agents {
    /// The kubeconfig; without it that of $KUBECONFIG, or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; without it the current one
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace of the agents; without it they are found in all namespaces
    #[arg(long, global = true, value_name = "NAMESPACE")]
    pub agent_namespace: Option<String>,
    /// Labels of the agents' pods
    #[arg(
        long,
        global = true,
        value_name = "SELECTOR",
        default_value = "app.kubernetes.io/part-of=lb-agent,app.kubernetes.io/component=agent"
    )]
    pub agent_selector: String,
    /// Ask this node alone; may be repeated
    #[arg(long, global = true, value_name = "NAME")]
    pub node: Vec<String>,
    /// How long a node may take to answer
    #[arg(long, global = true, value_name = "DURATION", default_value = "15s", value_parser = period)]
    pub timeout: Duration,
    /// How many nodes are asked at once
    #[arg(long, global = true, value_name = "NODES", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub at_once: u16,
}

/// What all nodes are asked.
#[derive(Subcommand, Debug)]
pub enum NodesVerb {
    /// Show what the kernels of the nodes hold
    Get(GetOnNodes),
    /// Show the health of each node's agent and data path
    Status {
        /// How to show it
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// List what the nodes are missing, with the nodes that miss it
    Check {
        /// How to show it
        #[arg(short, long, value_enum, default_value_t = CheckOutput::Short)]
        output: CheckOutput,
    },
    /// Show what each Service does now on each node
    Top(TopOnNodes),
    /// Show why the clients of a Service, or one connection, go where they go; nodes that say the
    /// same are shown together
    Explain(ExplainOnNodes),
}

/// `kubectl lb get`
#[derive(Args, Debug)]
pub struct GetOnNodes {
    /// What to show
    #[arg(value_enum)]
    pub what: What,
    /// Only these, as for `lb-agent get`; an error if no node has them
    #[arg(value_name = "NAME|ADDRESS:PORT")]
    pub names: Vec<String>,
    /// Only what belongs to Services of this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Of all namespaces, which is the default
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Only what belongs to Services with these labels, such as `app=web,tier!=db`
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = selector)]
    pub selector: Option<String>,
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

/// Labels that the nodes will understand.
fn selector(text: &str) -> Result<String, String> {
    Labels::parse(text).map(|_| text.to_owned())
}

/// `kubectl lb top`
#[derive(Args, Debug)]
pub struct TopOnNodes {
    /// Show one interval and end
    #[arg(long)]
    pub once: bool,
    /// Between the two looks of a node
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = period)]
    pub interval: Duration,
    /// Only Services of this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Add up what the nodes have
    #[arg(long, conflicts_with = "output")]
    pub sum: bool,
    /// What has the most comes first
    #[arg(long, value_enum, default_value_t)]
    pub sort_by: TopSort,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
}

/// `kubectl lb explain`
#[derive(Args, Debug)]
pub struct ExplainOnNodes {
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
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
}
