//! The one task that writes: facts into the engine, the engine's writes into the maps, programs onto hooks. Owns when each
//! of them happens; what it does is the engine's.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep_until},
};
use tracing::{debug, error, info, warn};

use crate::{
    bootstrap::{Known, Memory, StateFile},
    config::NodePortAddress,
    datapath::{attach::Attachments, bpf_maps::BpfMaps, load::Commit, recount::Recount},
    model::{Event, ObjectKey},
    node::NodeState,
    run::Stop,
    schedule::Schedule,
    serve::{
        health::Health,
        kernel::Kernel,
        metrics::{Kind, KindLabels, Metrics, SyncLabels, SyncResult},
    },
    sync::{Engine, Report},
    watch::notices::Notice,
};

/// Open connections are counted anew this often.
const RECOUNT: Duration = Duration::from_secs(5);
/// Events taken in at once before anything is written.
const DRAIN: usize = 10_000;

/// What the agent is made of.
pub struct Parts {
    /// Restored from the maps.
    pub engine: Engine,
    /// Open for writing.
    pub maps: BpfMaps,
    /// Loaded programs.
    pub attachments: Attachments,
    /// What is left to do once the links run them.
    pub commit: Commit,
    /// The maps were made anew: no link runs on them before they are filled.
    pub wait_for_sync: bool,
    /// Which addresses node ports answer on.
    pub node_port_addresses: Vec<NodePortAddress>,
    /// What is learnt of the API server's addresses.
    pub memory: Memory,
    /// Where it is kept.
    pub file: StateFile,
    /// Who wants to know.
    pub known: watch::Sender<Known>,
    /// Problems of Services, for Events.
    pub notices: mpsc::Sender<Notice>,
    /// Told to the servers.
    pub health: Arc<Health>,
    /// Told to the servers.
    pub metrics: Arc<Metrics>,
    /// Told to the servers.
    pub kernel: Arc<Kernel>,
}

/// The running agent.
pub struct Agent {
    parts: Parts,
    /// Taken when the links have been updated for the first time.
    commit: Option<Commit>,
    schedule: Schedule,
    devices: Option<NodeState>,
    /// Node ports' addresses as the engine knows them.
    addresses: Option<Vec<(IpAddr, u32)>>,
    synced: bool,
    attached: bool,
    recounting: bool,
    told: BTreeMap<ObjectKey, Vec<String>>,
    pending: [i64; 3],
}

impl Agent {
    /// Nothing happens yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        todo!()
    }
}
