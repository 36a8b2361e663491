//! From the embedded object to verified programs and open maps. Owns which pins are reused, which maps are made anew, and
//! the constants that the programs are loaded with; nothing is attached here.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use aya::{Ebpf, EbpfLoader};
use aya_obj::Object;
use lb_common::{
    flow::SNAT_PORTS,
    maps::{self, MapSpec},
};

mod copy;
pub mod layout;
pub mod probe;
pub mod programs;

use crate::{
    maps::{
        Maps, bpf,
        dir::{BpfDir, NEW, names, unpin},
        pinned::Access,
    },
    settings::values::SocketLb,
};
use layout::{Fate, Layout, config_together, fate};

/// The programs and their maps, as `lb-ebpf` was compiled with this agent.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-ebpf.o"));

/// What the programs are loaded with.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a constant of the programs"
)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// `--socket-lb`
    pub socket_lb: SocketLb,
    /// bind() to a node port in the host's namespace is refused.
    pub bind_hold: bool,
    /// Sockets bound to a device are left alone.
    pub skip_bound_device: bool,
    /// The kernel has MPTCP (see [`probe::Features`]).
    pub mptcp: bool,
    /// Node ports answer the host's own sockets on loopback of IPv4, of IPv6.
    pub loopback_ports: [bool; 2],
    /// First and last port of our own range for rewritten sources.
    pub snat_ports: (u16, u16),
    /// `bpf_fib_lookup` tells the preferred source (see [`probe::Features`]).
    pub fib_source: bool,
    /// VIPs are routed to `lb0`, which is there.
    pub lb0: bool,
    /// Turns of an empty loop between the steps of a lookup: for the test that has writers overtake readers, else 0.
    pub test_delay: u32,
    /// `--map-capacity NAME=N`: entries by name of the map.
    pub capacities: BTreeMap<String, u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            socket_lb: SocketLb::default(),
            bind_hold: true,
            skip_bound_device: true,
            mptcp: true,
            loopback_ports: [true; 2],
            snat_ports: SNAT_PORTS,
            fib_source: false,
            lb0: false,
            test_delay: 0,
            capacities: BTreeMap::new(),
        }
    }
}

/// Verified programs that run nowhere yet, and the maps that they will use.
#[derive(Debug)]
pub struct Loaded {
    /// For [`crate::hooks::attach::Attachments::new`].
    pub ebpf: Ebpf,
    /// For the sync engine.
    pub maps: Maps,
    /// What was made anew though a pin existed: empty on an ordinary restart.
    pub replaced: Vec<&'static str>,
    dir: BpfDir,
}

impl Loaded {
    /// Takes the programs and the maps apart.
    pub fn split(self) -> (Ebpf, Maps, Commit) {
        (self.ebpf, self.maps, Commit { dir: self.dir })
    }
}

/// What is left to do once the new maps are filled, before the first link runs on them.
#[derive(Debug)]
#[must_use = "pins of replaced maps stay in place until the commit"]
pub struct Commit {
    dir: BpfDir,
}

impl Commit {
    /// Puts the pins of new maps in the place of those that they replace, and removes pins of other versions. The programs
    /// that still run on the old maps hold them. Of an agent that ends in the middle of it, the next one does the rest.
    pub fn run(self) -> Result<()> {
        let mark = self.dir.committing();
        match fs::create_dir(&mark) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(e).with_context(|| format!("cannot make {}", mark.display()));
            }
            _ => rename_all(&self.dir)?,
        }
        fs::remove_dir(&mark).with_context(|| format!("cannot remove {}", mark.display()))
    }
}

fn rename_all(dir: &BpfDir) -> Result<()> {
    for name in names(&dir.maps())? {
        let path = dir.maps().join(&name);
        if let Some(target) = name.strip_suffix(NEW) {
            let target = dir.maps().join(target);
            fs::rename(&path, &target)
                .with_context(|| format!("cannot rename the pin {}", path.display()))?;
        } else if maps::ALL.iter().all(|spec| spec.pin_name() != name) {
            tracing::info!(pin = name, "removed: another version's map");
            unpin(&path)?;
        }
    }
    Ok(())
}

/// What an agent has left that ended between load and the end of its commit. Until a commit has begun no link runs on new
/// maps; from then on they are filled, and their places are theirs.
fn clear(dir: &BpfDir) -> Result<()> {
    if dir.committing().exists() {
        return Commit { dir: dir.clone() }.run();
    }
    for name in names(&dir.maps())? {
        if name.ends_with(NEW) {
            unpin(&dir.maps().join(name))?;
        }
    }
    Ok(())
}

/// Loads the object: reuses pins that fit, has every program verified, and opens the maps. The lock on `dir` is held.
pub fn load(object: &[u8], dir: &BpfDir, options: &Options) -> Result<Loaded> {
    clear(dir)?;
    let fates = fates(object, dir, options)?;
    let together = config_together(&fates);
    let mut replaced = Vec::new();
    let mut paths: Vec<(MapSpec, PathBuf)> = Vec::new();
    for (spec, fate) in &fates {
        let anew = *fate == Fate::Replace || (together && !spec.state);
        if anew {
            replaced.push(spec.name);
        }
        if *fate == Fate::KeepCapacity {
            tracing::warn!(
                map = spec.name,
                "keeps its old capacity, since it holds live state: `lb-agent cleanup` first to change it"
            );
        }
        let path = if anew {
            dir.new_map(spec)
        } else {
            dir.map(spec)
        };
        paths.push((*spec, path));
    }
    let mut ebpf = create(object, &paths, options)?;
    let mut maps = bpf::open(dir, Access::Write).context("cannot open the maps")?;
    if together {
        tracing::info!(maps = ?replaced, "made anew: their layout or capacity differs from the pinned ones");
        copy::from_pins(dir, &mut maps);
    }
    programs::load_all(&mut ebpf)?;
    Ok(Loaded {
        ebpf,
        maps,
        replaced,
        dir: dir.clone(),
    })
}

/// What becomes of each map of the object.
fn fates(object: &[u8], dir: &BpfDir, options: &Options) -> Result<Vec<(MapSpec, Fate)>> {
    let object = Object::parse(object).context("cannot parse the eBPF object")?;
    for name in options.capacities.keys() {
        if maps::ALL.iter().all(|spec| spec.name != name) {
            bail!("--map-capacity {name}: there is no such map");
        }
    }
    let mut fates = Vec::new();
    for (name, map) in &object.maps {
        // `.rodata` and the like are aya's business, and never pinned.
        if name.starts_with('.') {
            continue;
        }
        let Some(spec) = maps::ALL.iter().find(|spec| spec.name == name) else {
            bail!("map {name} of the eBPF object is not in lb_common::maps::ALL");
        };
        let wanted = Layout {
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            capacity: options
                .capacities
                .get(name)
                .copied()
                .unwrap_or(map.max_entries()),
            flags: map.map_flags(),
        };
        let pinned = pinned_layout(&dir.map(spec))?;
        fates.push((*spec, fate(spec.state, wanted, pinned)));
    }
    Ok(fates)
}

fn pinned_layout(path: &Path) -> Result<Option<Layout>> {
    if !path.exists() {
        return Ok(None);
    }
    let info = lb_sys::open_pin(path)
        .and_then(lb_sys::map_info)
        .with_context(|| format!("cannot open the pin {}", path.display()))?;
    Ok(Some(Layout {
        kind: info.kind,
        key_size: info.key_size,
        value_size: info.value_size,
        capacity: info.max_entries,
        flags: info.flags,
    }))
}

/// Creates or opens the maps, and prepares the programs with their constants.
fn create(object: &[u8], paths: &[(MapSpec, PathBuf)], options: &Options) -> Result<Ebpf> {
    let cookie =
        lb_sys::netns_cookie().context("cannot tell the cookie of the network namespace")?;
    let socket_lb: u32 = match options.socket_lb {
        SocketLb::Off => 0,
        SocketLb::Host => 1,
        SocketLb::All => 2,
    };
    let bind_hold = u32::from(options.bind_hold);
    let skip_bound_device = u32::from(options.skip_bound_device);
    let mptcp = u32::from(options.mptcp);
    let [v4, v6] = options.loopback_ports.map(u32::from);
    let loopback_ports = v4 | v6 << 1;
    let (first, last) = options.snat_ports;
    let (first, last) = (u32::from(first), u32::from(last));
    let fib_source = u32::from(options.fib_source);
    let lb0 = u32::from(options.lb0);
    let mut loader = EbpfLoader::new();
    // The names are those of lb-ebpf/src/config.rs.
    loader
        .override_global("HOST_NETNS_COOKIE", &cookie, true)
        .override_global("SOCKET_LB", &socket_lb, true)
        .override_global("BIND_HOLD", &bind_hold, true)
        .override_global("SKIP_BOUND_DEVICE", &skip_bound_device, true)
        .override_global("MPTCP", &mptcp, true)
        .override_global("LOOPBACK_PORTS", &loopback_ports, true)
        .override_global("SNAT_PORT_MIN", &first, true)
        .override_global("SNAT_PORT_MAX", &last, true)
        .override_global("LB0", &lb0, true)
        .override_global("TEST_DELAY", &options.test_delay, true)
        .override_global("FIB_SRC", &fib_source, true);
    for (spec, path) in paths {
        loader.map_pin_path(spec.name, path.as_path());
        if let Some(entries) = options.capacities.get(spec.name) {
            loader.map_max_entries(spec.name, *entries);
        }
    }
    loader
        .load(object)
        .context("cannot create the maps of the eBPF object")
}
