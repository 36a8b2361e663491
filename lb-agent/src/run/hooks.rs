//! The programs on their hooks: attached once the maps are filled, and kept attached as devices
//! come and go.

use anyhow::{Context as _, Error, Result};
use tracing::info;

use super::{data_path::PinnedMaps, phase::Phase};
use crate::{
    hooks::attach::Attachments,
    load::Commit,
    model::{Device, NoXdp, Verification, VethPair},
};

/// The loaded programs, and what has to be done before the first link runs them.
pub(super) struct Hooks {
    attachments: Attachments,
    commit: Option<Commit>,
    maps: PinnedMaps,
}

/// What could be attached.
pub(super) struct AttachReport {
    /// What could not be attached this time, with the name of the device.
    pub(super) problems: Vec<(String, Error)>,
    /// Devices that were to have XDP and are left to tc.
    pub(super) without_xdp: Vec<(String, NoXdp)>,
    /// The devices of `lb0` if both of its programs run.
    pub(super) lb0: Option<VethPair>,
    /// Programs that were detached by another process and are not attached again.
    pub(super) missing: usize,
}

impl Hooks {
    /// Attaches nothing yet.
    pub(super) fn new(attachments: Attachments, commit: Commit, maps: PinnedMaps) -> Self {
        Self {
            attachments,
            commit: Some(commit),
            maps,
        }
    }

    /// The links, for those who read sockets through them.
    pub(super) fn attachments(&self) -> &Attachments {
        &self.attachments
    }

    /// Attaches the programs to `devices` as they are now. Returns `None` while the maps are new
    /// and not filled yet: until then the programs of a previous agent run, on its own maps.
    pub(super) fn attach(
        &mut self,
        devices: &[Device],
        lb0: Option<VethPair>,
        phase: Phase,
    ) -> Result<Option<AttachReport>> {
        if self.maps == PinnedMaps::Recreated && !phase.is_synced() {
            info!("new maps: what a previous agent attached stays until they are filled");
            return Ok(None);
        }
        // The maps are filled. From the first link on that runs on them, they are what the next
        // agent must find.
        let first = self.commit.take();
        let is_first = first.is_some();
        first.map_or(Ok(()), Commit::run)?;
        self.attachments.set_lb0(lb0);
        let problems = self
            .attachments
            .follow(devices)
            .context("attach the programs")?;
        if is_first {
            let devices: Vec<&str> = devices.iter().map(|d| d.name.as_str()).collect();
            info!(?devices, "programs are attached");
        }
        let without_xdp = devices.iter().filter_map(|device| {
            let why = self.attachments.no_xdp(device.ifindex)?;
            Some((device.name.clone(), why))
        });
        Ok(Some(AttachReport {
            problems,
            without_xdp: without_xdp.collect(),
            lb0: lb0.filter(|pair| self.attachments.serves_lb0(*pair)),
            missing: self.attachments.missing(),
        }))
    }

    /// Looks whether what was attached to `devices` and elsewhere is still attached.
    pub(super) fn verify(&mut self, devices: &[Device]) -> Result<Verification> {
        self.attachments
            .verify(devices)
            .context("look at what is attached")
    }
}
