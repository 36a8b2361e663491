//! Decisions as they come through the ring buffer.

use std::{
    fmt,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, RingBuf};
use lb_common::trace::Decision;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The reading end.
pub struct Ring(RingBuf<MapData>);

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

impl Ring {
    /// What the process before has not read is thrown away.
    pub(super) fn new(map: OwnedFd) -> Result<Self> {
        let data = MapData::from_fd(map).context("open the ring buffer")?;
        let mut ring = RingBuf::try_from(Map::RingBuf(data)).context("map the ring buffer")?;
        while ring.next().is_some() {}
        Ok(Self(ring))
    }

    /// Waits until there is a decision, or for so long.
    pub fn wait(&self, longest: Duration) -> Result<()> {
        let longest = PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX);
        let mut ready = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, longest) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("wait for decisions"),
        }
    }

    /// The next decision, if there is one.
    pub fn next(&mut self) -> Option<Decision> {
        loop {
            let item = self.0.next()?;
            // `None`: it is cut short.
            if let Some(decision) = lb_sys::value_of(&item) {
                return Some(decision);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_sys::value_of;

    use super::*;

    #[test]
    fn every_byte_of_a_record_has_its_field() {
        let bytes: Vec<u8> = (0..128).collect();
        let d: Decision = value_of(&bytes).unwrap();
        assert_eq!(d.time_ns.to_ne_bytes(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(d.client.b[0], 32);
        assert_eq!(d.hook, 87);
        assert_eq!(d.reply, 108);
        assert_eq!(d.comm[15], 127);
        assert!(value_of::<Decision>(&bytes[..127]).is_none());
        assert_eq!(size_of::<Decision>(), bytes.len());
    }
}
