//! From the settings to verified programs and open maps.

use std::path::Path;

use anyhow::Result;
use tracing::info;

use super::node_ports;
use crate::{
    flows::timeouts::timeouts,
    hooks::{
        attach::{Attachments, TcMode},
        cgroup::Cgroup,
    },
    load::{self, Commit, Loaded, Options, probe::Features},
    maps::{Maps, dir::BpfDir},
    model::VethPair,
    observe::node_events::EventRecorder,
    settings::{
        Config,
        values::{BindHold, Lb0Mode},
    },
};

/// What was loaded; nothing is attached.
pub(super) struct DataPath {
    /// The programs.
    pub(super) attachments: Attachments,
    /// Open for writing.
    pub(super) maps: Maps,
    /// What has to be done before the first link runs the programs.
    pub(super) commit: Commit,
    /// Where the maps come from.
    pub(super) pinned: PinnedMaps,
}

/// Where the maps come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PinnedMaps {
    /// A previous agent's, or the first ones of this machine.
    Reused,
    /// Some replace a previous agent's: they must be filled before any link runs on them.
    Recreated,
}

/// Loads the programs, and opens or creates the maps.
pub(super) fn load(config: &Config, dir: &BpfDir, lb0: Option<VethPair>) -> Result<DataPath> {
    let features = Features::probe()?;
    let cgroup = Cgroup::open(config.cgroup.as_deref())?;
    if !cgroup.is_root() {
        info!(cgroup = %Path::display(&cgroup.path), "not the root of the hierarchy: sockets outside of it are not translated");
    }
    let capacities = config.map_capacity.iter();
    let options = Options {
        socket_lb: config.socket_lb,
        bind_hold: config.bind_hold == BindHold::On,
        xdp: !config.xdp.is_empty(),
        fib_source: features.fib_source,
        mptcp: features.mptcp,
        loopback_ports: node_ports::on_loopback(&config.node_port_addresses),
        timeouts: timeouts(&config.conntrack),
        pods: config.cluster_cidrs.iter().map(|c| c.bits()).collect(),
        lb0: lb0.is_some(),
        lb0_may_come: config.lb0 == Lb0Mode::On,
        capacities: capacities
            .map(|c| (c.map.name.to_owned(), c.entries))
            .collect(),
        ..Options::default()
    };
    let loaded: Loaded = load::load(load::OBJECT, dir, &options)?;
    let pinned = if loaded.is_recreated() {
        PinnedMaps::Recreated
    } else {
        PinnedMaps::Reused
    };
    let (ebpf, maps, commit) = loaded.split();
    let tc = if features.tcx {
        TcMode::Tcx
    } else {
        TcMode::Clsact
    };
    Ok(DataPath {
        attachments: Attachments::new(ebpf, dir, cgroup, tc, config.xdp_mode)?,
        maps,
        commit,
        pinned,
    })
}

/// Requests an Event where sockets outside of a cgroup that is not the root bypass load balancing.
pub(super) fn report_cgroup(config: &Config, recorder: &EventRecorder) {
    let Ok(cgroup) = Cgroup::open(config.cgroup.as_deref()) else {
        return;
    };
    if !cgroup.is_root() {
        let text = format!(
            "the agent is attached to the cgroup {}, which is not the root: sockets outside of it are not translated; mount the host's /sys/fs/cgroup, or see --cgroup",
            Path::display(&cgroup.path)
        );
        recorder.node("CgroupNotRoot", "Attach", "", text);
    }
}
