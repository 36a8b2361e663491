//! A frame sent on a real wire, through tc as the device runs it: for what a test run cannot say of
//! a frame, such as a tag that the kernel takes off before tc sees it.

use std::{
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    ifaddrs::getifaddrs,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send,
        socket,
    },
};

use crate::packet_table::{
    packet::{net_offset, tuple},
    plan::{BACKEND_PORT, Device},
};

/// Everything happens on this machine, so that what has not come by then does not come.
const PATIENCE: Duration = Duration::from_millis(300);

/// The far ends of the node's devices.
pub(crate) struct Wire {
    ends: Vec<(Device, OwnedFd)>,
}

impl Wire {
    /// To be called in the node's network namespace.
    pub(crate) fn open() -> Result<Self> {
        let ends = [Device::Eth0, Device::Eth1, Device::Eth2].map(|device| {
            let name = format!("{}p", device.name());
            let link = getifaddrs()?.find_map(|one| {
                let link: LinkAddr = *one.address?.as_link_addr()?;
                (one.interface_name == name).then_some(link)
            });
            let fd = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )?;
            bind(
                fd.as_raw_fd(),
                &link.with_context(|| format!("no device {name}"))?,
            )?;
            Ok((device, fd))
        });
        let ends = ends.into_iter().collect::<Result<_>>()?;
        Ok(Self { ends })
    }

    /// Sends a frame to the node by this device, and returns what comes out for a backend's port.
    pub(crate) fn send(&self, device: Device, frame: &[u8]) -> Result<Option<Vec<u8>>> {
        let end = self.ends.iter().find(|(of, _)| *of == device);
        let (_, end) = end.context("no wire there")?;
        send(end.as_raw_fd(), frame, MsgFlags::empty()).context("send a frame")?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let mut fds: Vec<_> = self
                .ends
                .iter()
                .map(|(_, fd)| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
                .collect();
            poll(&mut fds, PollTimeout::from(20u8)).context("wait for a frame")?;
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
            for ((_, fd), _) in self.ends.iter().zip(ready).filter(|(_, ready)| *ready) {
                let mut bytes = vec![0; 2_048];
                let length = recv(fd.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
                bytes.truncate(length);
                let found = bytes.get(net_offset(&bytes)..).and_then(tuple);
                if found.is_some_and(|tuple| tuple.dport == BACKEND_PORT) {
                    return Ok(Some(bytes));
                }
            }
        }
        Ok(None)
    }
}
