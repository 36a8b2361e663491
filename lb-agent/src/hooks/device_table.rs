//! `lb_devs`: what the programs know of each node device.

use anyhow::{Context as _, Result};
use lb_common::{
    Addr,
    dev::{Dev, flags},
    maps,
};

use crate::{
    maps::{
        dir::BpfDir,
        pinned::{Access, HashPin},
        table::HashTable as _,
    },
    model::{Device, RpFilter},
};

/// The table, opened for writing.
#[derive(Debug)]
pub(super) struct DeviceTable(HashPin<u32, Dev>);

impl DeviceTable {
    /// Opens the pin.
    pub(super) fn open(dir: &BpfDir) -> Result<Self> {
        Ok(Self(HashPin::open(dir, maps::DEVS, Access::Write)?))
    }

    /// Writes the device's entry unless it is there already.
    pub(super) fn write(&mut self, device: &Device) -> Result<()> {
        let entry = entry(device);
        if self.0.map().get(&device.ifindex)? == Some(entry) {
            return Ok(());
        }
        match self.0.insert(&[(device.ifindex, entry)]).error {
            Some(e) => Err(e).with_context(|| format!("device {}", device.name)),
            None => Ok(()),
        }
    }

    /// Removes the entries of all other devices.
    pub(super) fn retain(&mut self, devices: &[Device]) -> Result<()> {
        let entries = self.0.entries()?;
        let indices = entries.into_iter().map(|(ifindex, _)| ifindex);
        let gone: Vec<u32> = indices
            .filter(|ifindex| devices.iter().all(|d| d.ifindex != *ifindex))
            .collect();
        let error = self.0.remove(&gone).error;
        error.map_or(Ok(()), |e| Err(e.into()))
    }
}

fn entry(device: &Device) -> Dev {
    let bit = |on, bit| if on { bit } else { 0 };
    Dev {
        source_v4: device
            .source_v4
            .map_or(Addr::ZERO, |a| Addr::v4(a.octets())),
        source_v6: device
            .source_v6
            .map_or(Addr::ZERO, |a| Addr::v6(a.octets())),
        flags: flags::NODE
            | bit(device.rp_filter == RpFilter::Strict, flags::STRICT)
            | bit(device.pods, flags::PODS),
        header_len: device.header_len,
    }
}
