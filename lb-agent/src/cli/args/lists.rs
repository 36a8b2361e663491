//! Arguments of the verbs that list: `get`, `top`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Form, ListOutput, ViewArgs};
use crate::{
    cli::get::Labels,
    settings::flags::{Pins, StateArg, period},
};

/// `lb-agent get`
#[derive(Args, Debug)]
pub struct Get {
    /// What is shown.
    #[command(flatten)]
    pub pins: Pins,
    /// Beside it: names, Events, and Services that are only partly programmed.
    #[command(flatten)]
    pub state: StateArg,
    /// What of it, and how.
    #[command(flatten)]
    pub list: ListArgs,
    /// Go on, and show what changes
    #[arg(short, long, conflicts_with = "view")]
    pub watch: bool,
}

/// What a list shows, and how: of one node, or of all.
#[derive(Args, Debug)]
pub struct ListArgs {
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
    /// Sort by this field of the JSON output, such as `activeConnections` or `service.name`
    #[arg(long, value_name = "FIELD")]
    pub sort_by: Option<String>,
    /// Leave the first line of tables out
    #[arg(long)]
    pub no_headers: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ListOutput,
    /// As another table.
    #[command(flatten)]
    pub views: ViewArgs,
}

#[cfg(test)]
impl ListArgs {
    /// Of Services, with this output and nothing else said.
    pub(in crate::cli) fn for_tests(output: ListOutput) -> Self {
        use clap::Parser as _;

        use super::{Cli, Verb};

        let Ok(Cli {
            verb: Some(Verb::Get(Get { mut list, .. })),
            ..
        }) = Cli::try_parse_from(["lb-agent", "get", "services"])
        else {
            unreachable!("these words are right")
        };
        list.output = output;
        list
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
    /// On which path the sockets of each pod of this node are, and why (`--socket-lb auto`)
    #[value(aliases = ["pod", "po"])]
    Pods,
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
    /// What of it, and how.
    #[command(flatten)]
    pub rates: RateArgs,
}

/// What `top` shows, and how: of one node, or of all.
#[derive(Args, Debug)]
pub struct RateArgs {
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
    /// Mean round trip time of handshakes
    Rtt,
    /// Failed connects a second
    Failures,
    /// Segments sent once more a second
    Retransmits,
}
