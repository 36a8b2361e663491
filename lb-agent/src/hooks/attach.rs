//! Programs onto hooks, and kept there as devices come and go. Owns every link and `lb_devs`; an existing link is swapped in
//! place, so that no hook is ever without a program.

use std::{collections::BTreeSet, os::fd::OwnedFd, path::PathBuf};

use anyhow::{Context, Error, Result};
use aya::{Ebpf, programs::Program};
use lb_common::{
    Addr,
    dev::{Dev, flags},
    lb0, maps,
};
use lb_sys::{CgroupHook, LinkTarget, TcHook, Xdp};

use super::{
    cgroup::Cgroup,
    clsact,
    link_pin::{self, Put, device_pin, put},
};
use crate::{
    load::programs::{self, Hook, Spec},
    maps::{
        dir::{BpfDir, unpin},
        pinned::{self, Access, HashPin},
        table::HashTable,
    },
    model::{Device, VethPair},
    settings::values::XdpMode,
    sockets::{
        records::Records,
        recount::{self, Recount, Recounts},
    },
};

/// How programs get onto a device's traffic control.
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
    ebpf: Ebpf,
    dir: BpfDir,
    cgroup: Cgroup,
    tc: TcMode,
    xdp: XdpMode,
    devs: HashPin<u32, Dev>,
    /// Pins whose link runs this agent's program.
    done: BTreeSet<String>,
    /// Interface indices that XDP could not be attached to: said once.
    without_xdp: BTreeSet<u32>,
    iter: Option<OwnedFd>,
    /// `lb0` and its other end, where they are there.
    lb0: Vec<Device>,
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
            devs: HashPin::open(dir, maps::DEVS, Access::Write)?,
            done: BTreeSet::new(),
            without_xdp: BTreeSet::new(),
            iter: None,
            lb0: Vec::new(),
            followed: false,
        })
    }

    /// Has the programs know this process as the agent, those of a previous one included, so that its own sockets are left
    /// alone from now on. [`Attachments::follow`] does it too, but the agent dials before that.
    pub fn claim(&mut self) -> Result<()> {
        programs::by_hook(Hook::IterSockets).map_or(Ok(()), |spec| self.attach_iter(spec))
    }

    /// `lb0` is there, or no more: [`Attachments::follow`] sees to its programs.
    pub fn set_lb0(&mut self, pair: Option<VethPair>) {
        let end = |ifindex, name: &str| Device {
            ifindex,
            name: name.to_owned(),
            ..Device::default()
        };
        self.lb0 = pair.map_or_else(Vec::new, |p| {
            vec![end(p.device, lb0::DEVICE), end(p.peer, lb0::PEER)]
        });
    }

    /// Do both programs of `lb0` run on these devices?
    #[must_use]
    pub fn serves_lb0(&self, pair: VethPair) -> bool {
        let ends = [
            (Hook::Lb0Out, pair.device, lb0::DEVICE),
            (Hook::Lb0Back, pair.peer, lb0::PEER),
        ];
        ends.into_iter().all(|(hook, ifindex, name)| {
            programs::by_hook(hook)
                .is_some_and(|s| self.done.contains(&device_pin(s.name, name, ifindex)))
        })
    }

    /// The cgroup that the socket programs run in.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// What recounts open connections, once [`Attachments::follow`] has run; `None` if the object has no iterator.
    pub fn recounts(&self) -> Result<Option<Recounts>> {
        let Some(link) = &self.iter else {
            return Ok(None);
        };
        let link = link.try_clone().context("cannot duplicate a descriptor")?;
        Ok(Some(Recounts::new(&self.dir, link)))
    }

    /// What reads the records of sockets, as [`Attachments::recounts`].
    pub fn records(&self) -> Result<Option<Records>> {
        let link = self.iter.as_ref().map(OwnedFd::try_clone).transpose();
        Ok(link
            .context("cannot duplicate a descriptor")?
            .map(Records::new))
    }

    /// One of them.
    pub fn recount(&self) -> Result<Option<Recount>> {
        self.recounts()?.map(|all| all.start()).transpose()
    }

    /// Has every program run where it belongs, with `devices` as the node devices: readers before writers, detached from
    /// what is no node device any more. What fails on one device is returned with its name, and the rest goes on; call again
    /// to retry.
    ///
    /// Fails as a whole where the socket programs cannot be attached and, until it has succeeded once, where native XDP is
    /// demanded of a device that has none.
    pub fn follow(&mut self, devices: &[Device]) -> Result<Vec<(String, Error)>> {
        let lb0 = self.lb0.clone();
        let [out, back] = [0, 1].map(|end| lb0.get(end..=end).unwrap_or_default());
        let mut problems = Vec::new();
        let mut note = |device: &str, r: Result<()>| {
            problems.extend(r.err().map(|e| (device.to_owned(), e)));
        };
        note("", self.prune(devices));
        for device in devices {
            note(&device.name, self.write_dev(device));
        }
        for spec in programs::ALL {
            match spec.hook {
                Hook::Cgroup(hook) => self.attach_cgroup(spec, hook)?,
                Hook::IterSockets => self.attach_iter(spec)?,
                Hook::TcEgress => {
                    for device in devices {
                        note(&device.name, self.attach_tc(spec, device, TcHook::Egress));
                    }
                }
                Hook::TcIngress => {
                    for device in devices {
                        note(&device.name, self.attach_tc(spec, device, TcHook::Ingress));
                    }
                }
                Hook::Lb0Out => {
                    for device in out {
                        note(&device.name, self.attach_tc(spec, device, TcHook::Egress));
                    }
                }
                Hook::Lb0Back => {
                    for device in back {
                        note(&device.name, self.attach_tc(spec, device, TcHook::Egress));
                    }
                }
                Hook::Xdp => {
                    for device in devices.iter().filter(|d| d.xdp) {
                        let attached = self.attach_xdp(spec, device);
                        if self.followed || attached.is_ok() {
                            note(&device.name, attached);
                        } else {
                            return attached.map(|()| Vec::new());
                        }
                        note(&device.name, self.write_dev(device));
                    }
                }
            }
        }
        self.followed = true;
        Ok(problems)
    }

    fn pin(&self, name: &str) -> PathBuf {
        self.dir.links().join(name)
    }

    fn attach_cgroup(&mut self, spec: &Spec, hook: CgroupHook) -> Result<()> {
        if self.done.contains(spec.name) {
            return Ok(());
        }
        let Some(program) = programs::descriptor(&self.ebpf, spec.name)? else {
            return Ok(());
        };
        let id = self.cgroup.id;
        let put = put(
            &self.pin(spec.name),
            program,
            |info| info.target == LinkTarget::Cgroup(id),
            || lb_sys::create_cgroup(program, &self.cgroup.folder, hook),
        )
        .with_context(|| {
            format!(
                "cannot attach {} to the cgroup {}",
                spec.name,
                self.cgroup.path.display()
            )
        })?;
        tracing::debug!(program = spec.name, ?put, "attached to the cgroup");
        self.done.insert(spec.name.to_owned());
        Ok(())
    }

    fn attach_iter(&mut self, spec: &Spec) -> Result<()> {
        if self.iter.is_some() {
            return Ok(());
        }
        let Some(program) = programs::descriptor(&self.ebpf, spec.name)? else {
            return Ok(());
        };
        let map = pinned::open(&self.dir, &maps::SK, Access::Write)?;
        let link = lb_sys::create_iter(program, map)
            .with_context(|| format!("cannot attach {} to lb_sk", spec.name))?;
        // Before the first program that translates: the agent's own sockets are left alone.
        recount::claim(&self.dir, &link)?;
        self.iter = Some(link);
        Ok(())
    }

    fn attach_tc(&mut self, spec: &Spec, device: &Device, hook: TcHook) -> Result<()> {
        let name = device_pin(spec.name, &device.name, device.ifindex);
        if self.done.contains(&name) {
            return Ok(());
        }
        let what = || format!("cannot attach {} to {}", spec.name, device.name);
        if self.tc == TcMode::Clsact {
            if let Some(Program::SchedClassifier(p)) = self.ebpf.program_mut(spec.name) {
                clsact::attach(p, &self.dir, spec.name, device, hook).with_context(what)?;
                self.done.insert(name);
            }
            return Ok(());
        }
        let Some(program) = programs::descriptor(&self.ebpf, spec.name)? else {
            return Ok(());
        };
        let ifindex = device.ifindex;
        put(
            &self.pin(&name),
            program,
            |info| info.target == LinkTarget::Tcx(ifindex),
            || lb_sys::create_tcx(program, ifindex, hook),
        )
        .with_context(what)?;
        tracing::info!(program = spec.name, device = device.name, "attached");
        self.done.insert(name);
        Ok(())
    }

    /// Was XDP asked for on this device, and could not be had?
    #[must_use]
    pub fn lacks_xdp(&self, ifindex: u32) -> bool {
        self.without_xdp.contains(&ifindex)
    }

    fn attach_xdp(&mut self, spec: &Spec, device: &Device) -> Result<()> {
        let name = device_pin(spec.name, &device.name, device.ifindex);
        let ifindex = device.ifindex;
        if self.done.contains(&name) || self.without_xdp.contains(&ifindex) {
            return Ok(());
        }
        let Some(program) = programs::descriptor(&self.ebpf, spec.name)? else {
            return Ok(());
        };
        let attached = put(
            &self.pin(&name),
            program,
            |info| info.target == LinkTarget::Xdp(ifindex),
            || lb_sys::create_xdp(program, ifindex, Xdp::Native),
        );
        match attached {
            Ok(Put::Created | Put::Updated) => {
                tracing::info!(program = spec.name, device = device.name, "attached");
                self.done.insert(name);
                Ok(())
            }
            Err(e) if self.xdp == XdpMode::Auto => {
                tracing::warn!(
                    device = device.name,
                    error = format!("{e:#}"),
                    "no native XDP here: tc does its work"
                );
                self.without_xdp.insert(ifindex);
                Ok(())
            }
            Err(e) => Err(e.context(format!(
                "device {} cannot run XDP natively, which --xdp-mode native demands: take it out of --attach-xdp, or start with --xdp-mode auto, which leaves it to tc",
                device.name
            ))),
        }
    }

    /// The device's entry in `lb_devs`, if it is not there as it should be.
    fn write_dev(&mut self, device: &Device) -> Result<()> {
        let xdp = programs::by_hook(Hook::Xdp).is_some_and(|s| {
            self.done
                .contains(&device_pin(s.name, &device.name, device.ifindex))
        });
        // XDP on a veth device sends nothing unless the operator vouches for its other end.
        let sends = xdp && (!device.veth || self.xdp == XdpMode::Native);
        let entry = entry(device, sends);
        let present = self.devs.map().get(&device.ifindex)?;
        if present == Some(entry) {
            return Ok(());
        }
        match self.devs.insert(&[(device.ifindex, entry)]).error {
            Some(e) => Err(e).with_context(|| format!("device {}", device.name)),
            None => Ok(()),
        }
    }

    /// Detaches from devices that are gone or not ours any more, and gives pins of renamed ones their new names.
    fn prune(&mut self, devices: &[Device]) -> Result<()> {
        for (name, info) in link_pin::all(&self.dir.links())? {
            let (LinkTarget::Xdp(ifindex) | LinkTarget::Tcx(ifindex)) = info.target else {
                continue;
            };
            let Some(spec) = programs::ALL.iter().find(|s| {
                name.strip_prefix(s.name)
                    .is_some_and(|rest| rest.starts_with('-'))
            }) else {
                continue;
            };
            let candidates = match spec.hook {
                Hook::Lb0Out => self.lb0.get(..1).unwrap_or_default(),
                Hook::Lb0Back => self.lb0.get(1..).unwrap_or_default(),
                _ => devices,
            };
            let wanted = candidates
                .iter()
                .find(|d| d.ifindex == ifindex && (spec.hook != Hook::Xdp || d.xdp));
            let Some(device) = wanted else {
                tracing::info!(program = spec.name, pin = name, "detached");
                unpin(&self.pin(&name))?;
                self.done.remove(&name);
                continue;
            };
            let new = device_pin(spec.name, &device.name, ifindex);
            if new != name {
                std::fs::rename(self.pin(&name), self.pin(&new))
                    .with_context(|| format!("cannot rename the pin {name} to {new}"))?;
                if self.done.remove(&name) {
                    self.done.insert(new);
                }
            }
        }
        let all: Vec<Device> = devices.iter().chain(&self.lb0).cloned().collect();
        for name in clsact::prune(&self.dir, &all)? {
            self.done.remove(&name);
        }
        self.without_xdp
            .retain(|ifindex| devices.iter().any(|d| d.ifindex == *ifindex));
        let gone: Vec<u32> = self
            .devs
            .entries()?
            .into_iter()
            .map(|(ifindex, _)| ifindex)
            .filter(|ifindex| devices.iter().all(|d| d.ifindex != *ifindex))
            .collect();
        self.devs
            .remove(&gone)
            .error
            .map_or(Ok(()), |e| Err(e.into()))
    }
}

/// The device's entry in `lb_devs`; `sends`: XDP is attached and may send here.
fn entry(device: &Device, sends: bool) -> Dev {
    Dev {
        source_v4: device
            .source_v4
            .map_or(Addr::ZERO, |a| Addr::v4(a.octets())),
        source_v6: device
            .source_v6
            .map_or(Addr::ZERO, |a| Addr::v6(a.octets())),
        flags: flags::NODE | if sends { flags::XDP } else { 0 },
        header_len: device.header_len,
    }
}
