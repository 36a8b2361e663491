//! A machine for one agent: a network namespace, a cgroup and a pin directory; and what an agent
//! does there first. Checks nothing.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, ensure};
use lb_agent::{
    hooks::{
        attach::{Attachments, TcMode},
        cgroup::Cgroup as AgentCgroup,
    },
    load,
    load::{Commit, OBJECT, Options, probe::Features},
    maps::{Maps, dir::BpfDir},
    model::{Device, RpFilter},
    settings::values::XdpMode,
};
use lb_common::{Addr, frontend::VipKey};
use lb_sys::LinkInfo;
use testbed::{cgroup::Cgroup, netns::Netns, pins::PinDir};

/// A machine for one agent.
pub(crate) struct BareNode {
    pub(crate) netns: Netns,
    pub(crate) cgroup: Cgroup,
    pub(crate) pins: PinDir,
}

impl BareNode {
    pub(crate) fn new() -> Result<Self> {
        let netns = Netns::new("dp")?;
        netns.ip("link add eth0 type veth peer name peer0\n\
             addr add 198.18.7.1/24 dev eth0\n\
             link set eth0 up\n\
             link set peer0 up\n\
             link add eth0.100 type veth peer name peer1\n")?;
        Ok(Self {
            netns,
            cgroup: Cgroup::new("dp")?,
            pins: PinDir::new("dp")?,
        })
    }

    pub(crate) fn dir(&self) -> Result<BpfDir> {
        BpfDir::create(self.pins.path())
    }

    pub(crate) fn device(&self, name: &str, xdp: bool) -> Result<Device> {
        device(&self.netns, name, xdp)
    }

    pub(crate) fn start(&self, devices: &[Device]) -> Result<(Attachments, Maps)> {
        self.netns.block(|| {
            start(
                self.pins.path(),
                self.cgroup.path(),
                &Options::default(),
                tc_mode()?,
                devices,
            )
        })
    }

    pub(crate) fn links(&self) -> Result<BTreeMap<String, LinkInfo>> {
        links(self.pins.path())
    }
}

/// Of the devices that the tests speak of to the agent.
pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 7, 1];

pub(crate) fn device(netns: &Netns, name: &str, xdp: bool) -> Result<Device> {
    let ifindex = netns.block(|| {
        nix::net::if_::if_nametoindex(name).with_context(|| format!("no device {name}"))
    })?;
    Ok(Device {
        ifindex,
        name: name.to_owned(),
        xdp,
        source_v4: Some([198, 18, 7, 1].into()),
        source_v6: None,
        header_len: 14,
        mac: MAC,
        veth: false,
        rp_filter: RpFilter::Loose,
        pods: false,
    })
}

/// As the agent chooses it: links from Linux 6.6 on.
pub(crate) fn tc_mode() -> Result<TcMode> {
    Ok(if Features::probe()?.tcx {
        TcMode::Tcx
    } else {
        TcMode::Clsact
    })
}

/// What the agent does when it starts.
pub(crate) fn start(
    pins: &Path,
    cgroup: &Path,
    options: &Options,
    tc: TcMode,
    devices: &[Device],
) -> Result<(Attachments, Maps)> {
    let dir = BpfDir::create(pins)?;
    let (ebpf, maps, commit) = load::load(OBJECT, &dir, options)?.split();
    let attachments = switch(ebpf, &dir, cgroup, tc, devices, commit)?;
    Ok((attachments, maps))
}

pub(crate) fn switch(
    ebpf: aya::Ebpf,
    dir: &BpfDir,
    cgroup: &Path,
    tc: TcMode,
    devices: &[Device],
    commit: Commit,
) -> Result<Attachments> {
    let cgroup = AgentCgroup::open(Some(cgroup))?;
    ensure!(!cgroup.is_root(), "a test never uses the root cgroup");
    let mut attachments = Attachments::new(ebpf, dir, cgroup, tc, XdpMode::Native)?;
    commit.run()?;
    let problems = attachments.follow(devices)?;
    ensure!(problems.is_empty(), "{problems:?}");
    Ok(attachments)
}

pub(crate) fn links(pins: &Path) -> Result<BTreeMap<String, LinkInfo>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(pins.join("links"))? {
        let entry = entry?;
        let info = lb_sys::link_info(lb_sys::open_pin(&entry.path())?)?;
        found.insert(entry.file_name().to_string_lossy().into_owned(), info);
    }
    Ok(found)
}

pub(crate) fn key(n: u8) -> VipKey {
    VipKey {
        addr: Addr::v4([10, 96, 0, n]),
        port: 80,
        proto: 6,
        scope: 0,
    }
}
