//! `lb_xdp_devs`: what XDP knows of each device that it is attached to.

use anyhow::{Result, bail};
use lb_common::{
    maps,
    xdp_dev::{self, XdpDev, flags},
};

use crate::{
    maps::{
        dir::BpfDir,
        pinned::{Access, ArrayPin},
        table::ArrayTable as _,
    },
    model::Device,
};

/// What XDP does on a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum XdpUse {
    /// It is not attached.
    Absent,
    /// It is attached, and tc sends instead.
    Receives,
    /// It is attached, and what it sends arrives.
    Sends,
}

/// The table, opened for writing.
#[derive(Debug)]
pub(super) struct XdpTable(ArrayPin<XdpDev>);

impl XdpTable {
    /// Opens the pin.
    pub(super) fn open(dir: &BpfDir) -> Result<Self> {
        Ok(Self(ArrayPin::open(dir, maps::XDP_DEVS, Access::Write)?))
    }

    /// Writes the device's element unless it is there already; removes that of a device without
    /// XDP. Fails where another device, whose index has the same low bits, has the element: XDP
    /// sends nothing out of this one then, and tc does.
    pub(super) fn write(&mut self, device: &Device, xdp: XdpUse) -> Result<()> {
        let index = xdp_dev::index(device.ifindex);
        let found = self.0.load(index)?;
        let wanted = entry(device, xdp);
        if found == wanted {
            return Ok(());
        }
        match (found.ifindex == device.ifindex, wanted == XdpDev::FREE) {
            (false, true) => return Ok(()),
            (false, false) if found != XdpDev::FREE => bail!(
                "tc sends in place of XDP on device {}: its index {} and that of another device with XDP, {}, have the same place in the table",
                device.name,
                device.ifindex,
                found.ifindex
            ),
            _ => {}
        }
        Ok(self.0.store(index, &wanted)?)
    }

    /// Removes the elements of all other devices.
    pub(super) fn retain(&mut self, devices: &[Device]) -> Result<()> {
        for index in 0..self.0.len() {
            let found = self.0.load(index)?;
            if found != XdpDev::FREE && devices.iter().all(|d| d.ifindex != found.ifindex) {
                self.0.store(index, &XdpDev::FREE)?;
            }
        }
        Ok(())
    }
}

fn entry(device: &Device, xdp: XdpUse) -> XdpDev {
    let sends = match xdp {
        XdpUse::Absent => return XdpDev::FREE,
        XdpUse::Receives => 0,
        // Of other drivers it is not known whether they take such frames from another device.
        XdpUse::Sends if device.veth => flags::SEND | flags::SEND_FRAGMENTED,
        XdpUse::Sends => flags::SEND,
    };
    XdpDev {
        ifindex: device.ifindex,
        flags: sends,
        mac: device.mac,
        pad: 0,
    }
}
