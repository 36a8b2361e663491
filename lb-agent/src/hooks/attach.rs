//! Programs on their hooks, and kept there as devices come and go. An existing link is swapped in
//! place, so that no hook is ever without a program.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Error, Result};
use aya::{Ebpf, programs::Program};
use lb_common::{lb0, maps};
use lb_sys::{CgroupHook, LinkTarget, TcHook, Xdp};

use super::{
    cgroup::Cgroup,
    clsact,
    device_table::DeviceTable,
    link_pin::device_pin,
    links::Links,
    trace_switch,
    xdp_table::{XdpTable, XdpUse},
};
use crate::{
    load::programs::{self, Hook, Spec},
    maps::{
        dir::{BpfDir, unpin},
        pinned::{self, Access},
    },
    model::{Device, NoXdp, VethPair},
    settings::values::XdpMode,
    sockets::{
        agent,
        records::Records,
        recount::{Recount, Recounts},
    },
};

/// How programs are attached to a device's traffic control.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcMode {
    /// By links (Linux 6.6).
    Tcx,
    /// By filters of the clsact qdisc.
    Clsact,
}

/// The loaded programs and where they run.
#[derive(Debug)]
pub struct Attachments {
    pub(super) ebpf: Ebpf,
    dir: BpfDir,
    cgroup: Cgroup,
    pub(super) tc: TcMode,
    xdp: XdpMode,
    device_table: DeviceTable,
    xdp_table: XdpTable,
    pub(super) links: Links,
    /// Names of pins of what [`Attachments::verify`] found lost and is not back yet.
    pub(super) lost: BTreeSet<String>,
    /// Interface indices on which XDP could not be attached, and why: logged once.
    without_xdp: BTreeMap<u32, NoXdp>,
    /// Through the iterator program, once it is attached.
    records: Option<Records>,
    /// `lb0`, if it exists.
    lb0: Vec<Device>,
    /// The other end of `lb0`, if it exists.
    lb0_peer: Vec<Device>,
    /// [`Attachments::follow`] has succeeded once.
    followed: bool,
}

impl Attachments {
    /// Takes the loaded programs; attaches nothing yet.
    pub fn new(ebpf: Ebpf, dir: &BpfDir, cgroup: Cgroup, tc: TcMode, xdp: XdpMode) -> Result<Self> {
        Ok(Self {
            ebpf,
            dir: dir.clone(),
            cgroup,
            tc,
            xdp,
            device_table: DeviceTable::open(dir)?,
            xdp_table: XdpTable::open(dir)?,
            links: Links::new(dir),
            lost: BTreeSet::new(),
            without_xdp: BTreeMap::new(),
            records: None,
            lb0: Vec::new(),
            lb0_peer: Vec::new(),
            followed: false,
        })
    }

    /// Registers this process as the agent with the programs, those of a previous agent included,
    /// so that they leave its sockets alone from now on. [`Attachments::follow`] does it too, but
    /// the agent opens connections before that.
    pub fn register_agent(&mut self) -> Result<()> {
        programs::by_hook(Hook::IterSockets).map_or(Ok(()), |spec| self.attach_iterator(spec))
    }

    /// The devices of `lb0`, which [`Attachments::follow`] attaches programs to; `None` if they do
    /// not exist.
    pub fn set_lb0(&mut self, pair: Option<VethPair>) {
        let end = |ifindex, name: &str| Device {
            ifindex,
            name: name.to_owned(),
            ..Device::default()
        };
        self.lb0 = pair.iter().map(|p| end(p.device, lb0::DEVICE)).collect();
        self.lb0_peer = pair.iter().map(|p| end(p.peer, lb0::PEER)).collect();
    }

    /// Whether both programs of `lb0` run on these devices.
    #[must_use]
    pub fn serves_lb0(&self, pair: VethPair) -> bool {
        let ends = [
            (Hook::Lb0Out, pair.device, lb0::DEVICE),
            (Hook::Lb0Back, pair.peer, lb0::PEER),
        ];
        ends.into_iter().all(|(hook, ifindex, name)| {
            programs::by_hook(hook)
                .is_some_and(|spec| self.links.is_current_on(spec, name, ifindex))
        })
    }

    /// Why this device, on which XDP was wanted, is left to tc; `None` if it is not.
    #[must_use]
    pub fn no_xdp(&self, ifindex: u32) -> Option<NoXdp> {
        self.without_xdp.get(&ifindex).copied()
    }

    /// The cgroup that the socket programs run in.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// The records of sockets, once [`Attachments::follow`] has run; `None` if the object has no
    /// iterator.
    pub fn records(&self) -> Result<Option<Records>> {
        self.records.as_ref().map(Records::try_clone).transpose()
    }

    /// What recounts open connections; there as [`Attachments::records`] are.
    pub fn recounts(&self) -> Result<Option<Recounts>> {
        let records = self.records()?;
        Ok(records.map(|records| Recounts::new(&self.dir, records)))
    }

    /// One recount, see [`Attachments::recounts`].
    pub fn recount(&self) -> Result<Option<Recount>> {
        self.recounts()?.map(|all| all.start()).transpose()
    }

    /// Has every program run where it belongs, with `devices` as the node devices: readers before
    /// writers, detached from what is no longer a node device. Returns what fails on one device
    /// with the name of the device, and goes on; a later call retries.
    ///
    /// Until it has succeeded once, it fails as a whole if the socket programs cannot be attached,
    /// or if native XDP is demanded of a device that has none.
    pub fn follow(&mut self, devices: &[Device]) -> Result<Vec<(String, Error)>> {
        let mut problems = Vec::new();
        let mut note = |device: &str, r: Result<()>| {
            problems.extend(r.err().map(|e| (device.to_owned(), e)));
        };
        note("", self.prune(devices));
        for device in devices {
            note(&device.name, self.write_entry(device));
        }
        for spec in programs::ALL {
            match spec.hook {
                Hook::Cgroup(hook) => {
                    let attached = self.attach_cgroup(spec, hook);
                    if self.followed {
                        note("", attached);
                    } else {
                        attached?;
                    }
                }
                Hook::IterSockets => self.attach_iterator(spec)?,
                Hook::TcIngress | Hook::TcEgress | Hook::Lb0Out | Hook::Lb0Back => {
                    for device in self.places(spec.hook, devices) {
                        note(&device.name, self.attach_tc(spec, &device));
                    }
                }
                Hook::Xdp => {
                    for device in self.places(spec.hook, devices) {
                        let attached = self.attach_xdp(spec, &device);
                        if self.followed {
                            note(&device.name, attached);
                        } else {
                            attached?;
                        }
                        note(&device.name, self.write_entry(&device));
                    }
                }
            }
        }
        note("", trace_switch::pin(&self.dir, &self.ebpf));
        self.followed = true;
        self.settle_lost(devices);
        Ok(problems)
    }

    /// The devices that a program of this hook belongs on.
    pub(super) fn places(&self, hook: Hook, devices: &[Device]) -> Vec<Device> {
        match hook {
            Hook::TcEgress | Hook::TcIngress => devices.to_vec(),
            Hook::Xdp => devices.iter().filter(|d| d.xdp).cloned().collect(),
            Hook::Lb0Out => self.lb0.clone(),
            Hook::Lb0Back => self.lb0_peer.clone(),
            Hook::Cgroup(_) | Hook::IterSockets => Vec::new(),
        }
    }

    fn attach_cgroup(&mut self, spec: &Spec, hook: CgroupHook) -> Result<()> {
        if self.links.is_current(spec.name) {
            return Ok(());
        }
        let Some(program) = programs::descriptor(&self.ebpf, spec.name)? else {
            return Ok(());
        };
        let create = || lb_sys::create_cgroup(program, &self.cgroup.folder, hook);
        let target = LinkTarget::Cgroup(self.cgroup.id);
        let put = self.links.put(spec.name, program, target, create);
        let put = put.with_context(|| {
            let cgroup = self.cgroup.path.display();
            format!("cannot attach {} to the cgroup {cgroup}", spec.name)
        })?;
        tracing::debug!(program = spec.name, ?put, "attached to the cgroup");
        Ok(())
    }

    fn attach_iterator(&mut self, spec: &Spec) -> Result<()> {
        if self.records.is_some() {
            return Ok(());
        }
        let Some(program) = programs::descriptor(&self.ebpf, spec.name)? else {
            return Ok(());
        };
        let map = pinned::open(&self.dir, &maps::SK, Access::Write)?;
        let link = lb_sys::create_iter(program, map)
            .with_context(|| format!("cannot attach {} to lb_sk", spec.name))?;
        let records = Records::new(link);
        // Before the first program that translates: the agent's own sockets are left alone.
        agent::register(&self.dir, &records)?;
        // For `get sockets`, also when no agent runs.
        let pin = self.dir.sockets();
        unpin(&pin)?;
        records
            .pin(&pin)
            .with_context(|| format!("cannot pin {} to {}", spec.name, pin.display()))?;
        self.records = Some(records);
        Ok(())
    }

    fn attach_tc(&mut self, spec: &Spec, device: &Device) -> Result<()> {
        let Some(hook) = spec.hook.tc() else {
            return Ok(());
        };
        let name = device_pin(spec.name, &device.name, device.ifindex);
        if self.links.is_current(&name) {
            return Ok(());
        }
        let what = || format!("cannot attach {} to {}", spec.name, device.name);
        match self.tc {
            TcMode::Clsact => self.attach_clsact(spec, device, hook).with_context(what)?,
            TcMode::Tcx => {
                let Some(program) = programs::descriptor(&self.ebpf, spec.name)? else {
                    return Ok(());
                };
                let target = LinkTarget::Tcx(device.ifindex);
                let create = || lb_sys::create_tcx(program, device.ifindex, hook);
                let put = self.links.put(&name, program, target, create);
                put.with_context(what)?;
            }
        }
        tracing::info!(program = spec.name, device = device.name, "attached");
        Ok(())
    }

    fn attach_clsact(&mut self, spec: &Spec, device: &Device, hook: TcHook) -> Result<()> {
        if let Some(Program::SchedClassifier(p)) = self.ebpf.program_mut(spec.name) {
            clsact::attach(p, &self.dir, spec.name, device, hook)?;
            let name = device_pin(spec.name, &device.name, device.ifindex);
            self.links.set_current(name);
        }
        Ok(())
    }

    fn attach_xdp(&mut self, spec: &Spec, device: &Device) -> Result<()> {
        let name = device_pin(spec.name, &device.name, device.ifindex);
        let ifindex = device.ifindex;
        if self.links.is_current(&name) || self.without_xdp.contains_key(&ifindex) {
            return Ok(());
        }
        let Some(program) = programs::descriptor(&self.ebpf, spec.name)? else {
            return Ok(());
        };
        let create = || lb_sys::create_xdp(program, ifindex, Xdp::Native);
        let target = LinkTarget::Xdp(ifindex);
        match (self.links.put(&name, program, target, create), self.xdp) {
            (Ok(_), _) => {
                tracing::info!(program = spec.name, device = device.name, "attached");
                Ok(())
            }
            (Err(e), XdpMode::Auto) => {
                let why = no_xdp(&e);
                let (error, problem) = (format!("{e:#}"), why.problem(&device.name));
                tracing::warn!(error, "{problem}; tc takes its place");
                self.without_xdp.insert(ifindex, why);
                Ok(())
            }
            (Err(e), XdpMode::Native) => {
                let problem = no_xdp(&e).problem(&device.name);
                Err(e.context(format!(
                    "{problem}, or start with --xdp-mode auto instead of native, which leaves it to tc"
                )))
            }
        }
    }

    /// Writes the device's entries in `lb_devs` and `lb_xdp_devs`.
    fn write_entry(&mut self, device: &Device) -> Result<()> {
        let attached = programs::by_hook(Hook::Xdp)
            .is_some_and(|spec| self.links.is_current_on(spec, &device.name, device.ifindex));
        // What XDP sends out of a veth device is lost unless its other end has XDP too, which only
        // the operator knows.
        let xdp = if !attached {
            XdpUse::Absent
        } else if device.veth && self.xdp != XdpMode::Native {
            XdpUse::Receives
        } else {
            XdpUse::Sends
        };
        self.device_table.write(device)?;
        self.xdp_table.write(device, xdp)
    }

    /// Detaches programs from devices that are gone or no longer ours, and forgets those devices.
    fn prune(&mut self, devices: &[Device]) -> Result<()> {
        let (lb0, lb0_peer) = (&self.lb0, &self.lb0_peer);
        self.links.prune(|spec, ifindex| {
            let mut places = match spec.hook {
                Hook::Lb0Out => lb0.iter(),
                Hook::Lb0Back => lb0_peer.iter(),
                _ => devices.iter(),
            };
            places.find(|d| d.ifindex == ifindex && (spec.hook != Hook::Xdp || d.xdp))
        })?;
        let ours = devices.iter().chain(lb0).chain(lb0_peer);
        let ours: BTreeSet<u32> = ours.map(|d| d.ifindex).collect();
        for name in clsact::prune(&self.dir, &ours)? {
            self.links.forget(&name);
        }
        self.without_xdp
            .retain(|ifindex, _| devices.iter().any(|d| d.ifindex == *ifindex));
        self.device_table.retain(devices)?;
        self.xdp_table.retain(devices)
    }
}

/// What the kernel's refusal of an XDP link means: a program in the same mode is there (EBUSY), or one
/// in generic mode or on a device above (EEXIST).
fn no_xdp(error: &Error) -> NoXdp {
    let errno = error.downcast_ref().and_then(lb_sys::Error::errno);
    match errno {
        Some(nix::libc::EBUSY | nix::libc::EEXIST) => NoXdp::Taken,
        _ => NoXdp::Driver,
    }
}
