//! Arguments of the verbs about one Service: `explain`, `test-service`.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::Args;

use super::Form;
use crate::{
    model::Cidr,
    settings::flags::{Pins, StateArg, period},
};

/// `lb-agent explain`
#[derive(Args, Debug)]
#[command(mut_arg("node_name", |arg| arg.requires("manifests")))]
pub struct Explain {
    /// What is read.
    #[command(flatten)]
    pub pins: Pins,
    /// Where the agent's socket and the names are.
    #[command(flatten)]
    pub state: StateArg,
    /// What is explained, and how.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Read Services, EndpointSlices and Nodes from the YAML files in this directory, without an
    /// agent
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// How they are planned.
    #[command(flatten)]
    pub offline: OfflineArgs,
}

/// Of a verb that plans manifests without an agent: what the agent would know.
#[derive(Args, Debug)]
pub struct OfflineArgs {
    /// With manifests: the Node that Services are planned for
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// With manifests: networks from which externalIPs of Services are accepted, as by the agent
    #[arg(
        long,
        value_name = "CIDR",
        value_delimiter = ',',
        requires = "manifests"
    )]
    pub external_ip_cidrs: Vec<Cidr>,
}

/// What `explain` is asked: one node, or all.
#[derive(Args, Debug)]
pub struct SubjectArgs {
    /// svc/NAME, svc/NAMESPACE/NAME, or: flow SOURCE DESTINATION
    #[arg(required = true, num_args = 1..=3, value_name = "SUBJECT")]
    pub words: Vec<String>,
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
