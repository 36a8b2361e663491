//! What [`super::run`] makes and hands to the one task. Owns no behaviour.

use std::{net::IpAddr, sync::Arc};

use tokio::sync::{oneshot, watch};

use crate::{
    bootstrap::{Known, Memory, StateFile},
    datapath::{attach::Attachments, bpf_maps::BpfMaps, load::Commit},
    observe::{
        health::Health, kernel::Kernel, metrics::Metrics, node_conditions::Troubles,
        sync_report::Tell,
    },
    serve::checks::Wanted,
    settings::values::NodePortAddress,
    sync::Engine,
};

use super::{lb0::Lb0, resetting::Resetting, schedule::Schedule};

/// What the agent is made of.
pub(super) struct Parts {
    /// Restored from the maps.
    pub(super) engine: Engine,
    /// Open for writing.
    pub(super) maps: BpfMaps,
    /// Loaded programs.
    pub(super) attachments: Attachments,
    /// What is left to do before the first link runs them.
    pub(super) commit: Commit,
    /// The maps were made anew: no link runs on them before they are filled.
    pub(super) wait_for_sync: bool,
    /// Followed, unless it is switched off.
    pub(super) lb0: Lb0,
    /// Which addresses node ports answer on.
    pub(super) node_port_addresses: Vec<NodePortAddress>,
    /// See [`crate::settings::Config::node_ip`].
    pub(super) node_ip: Option<IpAddr>,
    /// What is learnt of the API server's addresses.
    pub(super) memory: Memory,
    /// Where it is kept.
    pub(super) file: StateFile,
    /// Who wants to know.
    pub(super) known: watch::Sender<Known>,
    /// Told to the servers of health checks.
    pub(super) checks: watch::Sender<Wanted>,
    /// Told to the servers.
    pub(super) health: Arc<Health>,
    /// Told to the servers.
    pub(super) metrics: Arc<Metrics>,
    /// Told to the servers.
    pub(super) kernel: Arc<Kernel>,
    /// Told to people.
    pub(super) tell: Tell,
    /// Told to people.
    pub(super) troubles: Troubles,
    /// When what is due.
    pub(super) schedule: Schedule,
    /// Of connected UDP sockets that hold on to backends.
    pub(super) resetting: Resetting,
    /// Told when everything is listed and written.
    pub(super) first_sync: oneshot::Sender<()>,
}
