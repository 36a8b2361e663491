//! Arguments of `lb-agent kubectl`, which is also `kubectl lb`: verbs over all nodes.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use super::{CheckOutput, ListArgs, Output, RateArgs, SubjectArgs};
use crate::settings::flags::period;

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
    Get(ListArgs),
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
    Explain(SubjectArgs),
}

/// `kubectl lb top`
#[derive(Args, Debug)]
pub struct TopOnNodes {
    /// What of it, and how.
    #[command(flatten)]
    pub rates: RateArgs,
    /// Add up what the nodes have
    #[arg(long, conflicts_with = "output")]
    pub sum: bool,
}
