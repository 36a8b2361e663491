//! The links of this agent: which of its programs run where, and the pins that keep them there.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::{BorrowedFd, OwnedFd},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use lb_sys::{Error, LinkTarget};

use super::link_pin::{self, Put, device_pin};
use crate::{
    load::programs::{self, Spec},
    maps::dir::{BpfDir, unpin},
    model::Device,
};

/// Pins of links, and those of them that run this agent's programs.
#[derive(Debug)]
pub(super) struct Links {
    folder: PathBuf,
    /// Names of pins whose link runs this agent's program.
    current: BTreeSet<String>,
}

impl Links {
    /// None runs this agent's program yet.
    pub(super) fn new(dir: &BpfDir) -> Self {
        Self {
            folder: dir.links(),
            current: BTreeSet::new(),
        }
    }

    /// Whether this agent's program runs on the link pinned under that name.
    pub(super) fn is_current(&self, name: &str) -> bool {
        self.current.contains(name)
    }

    /// Whether this agent's program runs on the device.
    pub(super) fn is_current_on(&self, spec: &Spec, name: &str, ifindex: u32) -> bool {
        self.is_current(&device_pin(spec.name, name, ifindex))
    }

    /// Whether the link pinned under that name runs the program with this number, attached to this
    /// target.
    pub(super) fn holds(&self, name: &str, program: u32, target: LinkTarget) -> bool {
        let info = lb_sys::open_pin(&self.folder.join(name)).and_then(lb_sys::link_info);
        info.is_ok_and(|info| info.program == program && info.target == target)
    }

    /// Has the link pinned under that name run `program`: the existing one if it has this target,
    /// else one that `create` makes.
    pub(super) fn put(
        &mut self,
        name: &str,
        program: BorrowedFd<'_>,
        target: LinkTarget,
        create: impl FnOnce() -> Result<OwnedFd, Error>,
    ) -> Result<Put> {
        let pin = self.folder.join(name);
        let put = link_pin::put(&pin, program, |info| info.target == target, create)?;
        self.set_current(name.to_owned());
        Ok(put)
    }

    /// Records a program that runs without a link, under the name that its link's pin would have.
    pub(super) fn set_current(&mut self, name: String) {
        self.current.insert(name);
    }

    /// Records that a program was taken away.
    pub(super) fn forget(&mut self, name: &str) {
        self.current.remove(name);
    }

    /// Detaches programs from devices that they do not belong on, and renames the pins of renamed
    /// devices. `place` finds the device of that index that a program belongs on.
    pub(super) fn prune<'a>(
        &mut self,
        place: impl Fn(&Spec, u32) -> Option<&'a Device>,
    ) -> Result<()> {
        for (name, info) in link_pin::all(&self.folder)? {
            let (LinkTarget::Xdp(ifindex) | LinkTarget::Tcx(ifindex)) = info.target else {
                continue;
            };
            let Some(spec) = program_of(&name) else {
                continue;
            };
            if let Some(device) = place(spec, ifindex) {
                self.rename(&name, device_pin(spec.name, &device.name, ifindex))?;
            } else {
                tracing::info!(program = spec.name, pin = name, "detached");
                unpin(&self.folder.join(&name))?;
                self.forget(&name);
            }
        }
        Ok(())
    }

    fn rename(&mut self, name: &str, new: String) -> Result<()> {
        if new == name {
            return Ok(());
        }
        fs::rename(self.folder.join(name), self.folder.join(&new))
            .with_context(|| format!("cannot rename the pin {name} to {new}"))?;
        if self.current.remove(name) {
            self.current.insert(new);
        }
        Ok(())
    }
}

/// The program of a link on a device, by the name of its pin.
fn program_of(pin: &str) -> Option<&'static Spec> {
    programs::ALL.iter().find(|spec| {
        pin.strip_prefix(spec.name)
            .is_some_and(|rest| rest.starts_with('-'))
    })
}
