//! From the embedded object to verified programs and open maps: which pins are reused and which
//! maps are recreated. Attaches nothing.

mod commit;
mod copy;
pub mod layout;
mod options;
pub mod probe;
pub mod programs;
#[cfg(test)]
mod stack;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use aya::{Ebpf, EbpfLoader};
use aya_obj::Object;
pub use commit::Commit;
use commit::recover;
use layout::{Fate, Layout, PinName, Pinned, config_together, fate};
use lb_common::maps::MapSpec;
pub use options::Options;

use crate::maps::{Maps, bpf, dir::BpfDir, pinned::Access};

/// The programs and their maps, as `lb-ebpf` was compiled with this agent.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-ebpf.o"));

/// Verified programs that run nowhere yet, and the maps that they will use.
#[derive(Debug)]
pub struct Loaded {
    /// The programs.
    pub ebpf: Ebpf,
    /// For the sync engine.
    pub maps: Maps,
    /// Maps that were created though a pin existed: none on an ordinary restart.
    pub replaced: Vec<&'static str>,
    dir: BpfDir,
}

impl Loaded {
    /// Are maps new that the cluster is written into, or that keep what cannot be rebuilt?
    #[must_use]
    pub fn is_recreated(&self) -> bool {
        let mut specs = self.replaced.iter().filter_map(|name| MapSpec::named(name));
        specs.any(|spec| spec.is_config() || spec.is_state())
    }

    /// Takes the programs and the maps apart.
    pub fn split(self) -> (Ebpf, Maps, Commit) {
        (self.ebpf, self.maps, Commit::new(self.dir))
    }
}

/// Loads the object: reuses pins that fit, has every program verified, and opens the maps. The lock
/// on `dir` is held.
pub fn load(object: &[u8], dir: &BpfDir, options: &Options) -> Result<Loaded> {
    recover(dir)?;
    let fates = fates(object, dir, options)?;
    let together = config_together(&fates);
    let mut replaced = Vec::new();
    let mut paths: Vec<(MapSpec, PathBuf)> = Vec::new();
    for (spec, fate) in &fates {
        let replace = *fate == Fate::Replace || (together && spec.is_config());
        if replace {
            replaced.push(spec.name);
        }
        if *fate == Fate::KeepCapacity {
            tracing::warn!(
                map = spec.name,
                "keeps its old capacity, since it holds live state: run `lb-agent cleanup` first to change it"
            );
        }
        let path = if replace {
            dir.new_map(spec)
        } else {
            dir.map(spec)
        };
        paths.push((*spec, path));
    }
    let mut ebpf = create(object, &paths, options)?;
    let mut maps = bpf::open(dir, Access::Write).context("cannot open the maps")?;
    if !replaced.is_empty() {
        tracing::info!(maps = ?replaced, "maps recreated: their layout or capacity differs from the pinned ones");
    }
    if together {
        copy::from_pins(dir, &mut maps);
    }
    programs::load_wanted(&mut ebpf, options)?;
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
        if MapSpec::named(name).is_none() {
            bail!("--map-capacity {name}: there is no such map");
        }
    }
    let mut fates = Vec::new();
    for (name, map) in &object.maps {
        // aya handles `.rodata` and the like, and never pins them.
        if name.starts_with('.') {
            continue;
        }
        let Some(spec) = MapSpec::named(name) else {
            bail!("map {name} of the eBPF object is not in lb_common::maps::ALL");
        };
        let desired = Layout {
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
        let pinned = Pinned {
            layout: pinned_layout(&dir.map(spec))?,
            name: if dir.is_former(spec) {
                PinName::Former
            } else {
                PinName::Current
            },
        };
        fates.push((*spec, fate(spec, desired, pinned)));
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
        lb_sys::netns_cookie().context("cannot read the cookie of the network namespace")?;
    let mut loader = EbpfLoader::new();
    loader.override_global("HOST_NETNS_COOKIE", &cookie, true);
    let constants = options.constants();
    for (name, value) in &constants {
        loader.override_global(name, value, true);
    }
    let pods = options.pods();
    loader.override_global("PODS_V4", &pods.v4, true);
    loader.override_global("PODS_V6_MASK", &pods.v6_mask, true);
    loader.override_global("PODS_V6", &pods.v6, true);
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
