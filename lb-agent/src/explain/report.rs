//! What `explain` says, as JSON: from the agent to the verb, and from the verb to programs.

use serde::{Deserialize, Serialize};

/// Why a Service's clients go where they go, on one node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// As in every JSON output.
    pub api_version: String,
    /// `Explanation`
    pub kind: String,
    /// Of the Service.
    pub namespace: String,
    /// Of the Service.
    pub name: String,
    /// `spec.type`
    pub r#type: String,
    /// `Cluster` or `Local`.
    pub internal_traffic_policy: String,
    /// `Cluster` or `Local`.
    pub external_traffic_policy: String,
    /// Session affinity; 0 is off.
    pub affinity_seconds: u32,
    /// Open connections that each backend may have; 0: any number. An older agent says nothing
    /// of it.
    #[serde(default)]
    pub max_connections: u32,
    /// How old TCP connections may become, in seconds; 0: any age. An older agent says nothing of it.
    #[serde(default)]
    pub max_connection_age_seconds: u32,
    /// Above how many percent of the average connections leave the endpoints that topology hints
    /// prefer; 0: never. An older agent says nothing of it.
    #[serde(default)]
    pub spill_percent: u16,
    /// Who may use its load-balancer IPs; empty admits everybody.
    pub source_ranges: Vec<String>,
    /// This node.
    pub node: String,
    /// Its zone.
    pub zone: Option<String>,
    /// What clients connect to.
    pub frontends: Vec<Front>,
    /// The endpoints behind them.
    pub pools: Vec<Pool>,
    /// What is not programmed as asked, and why.
    pub problems: Vec<String>,
}

/// What a client connects to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Front {
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// As `get services` shows it.
    pub frontend: String,
    /// Name of the Service port.
    pub port: String,
    /// Which frontends of the Service it is.
    pub kinds: Vec<String>,
    /// Index into [`Explanation::pools`], for clients of this node and pods.
    pub inside: Option<usize>,
    /// The same for clients outside of the cluster.
    pub outside: Option<usize>,
    /// The maps lead it to this Service; absent where no agent was asked.
    pub programmed: Option<bool>,
}

/// The endpoints of one port, family and policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Name of the Service port.
    pub port: String,
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// IPv4 or IPv6.
    pub family: String,
    /// `Cluster` or `Local`.
    pub policy: String,
    /// How a backend is chosen.
    pub scheduler: String,
    /// Why it is not programmed.
    pub refused: Option<String>,
    /// Each with the rule that decides about it.
    pub endpoints: Vec<Judged>,
}

/// An endpoint, and what becomes of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// Where it listens.
    pub address: String,
    /// `namespace/name`
    pub pod: Option<String>,
    /// Where it runs.
    pub node: Option<String>,
    /// Zone of that node.
    pub zone: Option<String>,
    /// It gets new connections.
    pub eligible: bool,
    /// It gets new connections that leave those endpoints. An older agent says nothing of it.
    #[serde(default)]
    pub spill: bool,
    /// Why.
    pub rule: String,
}

impl Pool {
    /// What new connections get, in words.
    #[must_use]
    pub fn outcome(&self) -> String {
        let eligible = self.endpoints.iter().filter(|e| e.eligible).count();
        match (eligible, &self.refused) {
            (_, Some(why)) => format!("what was programmed before: {why}"),
            (0, None) if self.endpoints.is_empty() => {
                "refused at once: the port has no endpoint (are the Service's port name and the slice's the same?)".to_owned()
            }
            (0, None) if self.policy == "Local" => {
                "unreachable: policy Local, and no endpoint that could serve runs on this node".to_owned()
            }
            (0, None) => "refused at once: no endpoint is ready".to_owned(),
            (n, None) => {
                let (all, scheduler) = (self.endpoints.len(), &self.scheduler);
                let spill = match self.endpoints.iter().filter(|e| e.spill).count() {
                    0 => String::new(),
                    others => format!("; what spills, one of {others} others"),
                };
                format!("one of {n} of {all} endpoints, chosen by {scheduler}{spill}")
            }
        }
    }
}
