//! A tunnel between two namespaces: two devices without link headers, and a thread that carries what
//! one sends to the other.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::pipe2,
};

use crate::netns::Netns;

/// Room for a packet that no device has cut.
const PACKET: usize = 1 << 16;

/// Its devices go with it.
#[derive(Debug)]
pub struct Tunnel {
    /// Closed to end the thread.
    end: Option<OwnedFd>,
    carrier: Option<thread::JoinHandle<io::Result<()>>>,
}

impl Tunnel {
    /// A device of this name in each namespace, up, without addresses.
    pub fn new(one: &Netns, other: &Netns, name: &str) -> Result<Self> {
        Self::slow(one, other, name, Duration::ZERO)
    }

    /// [`Tunnel::new`] in which each packet is under way for so long at least, in either direction.
    pub fn slow(one: &Netns, other: &Netns, name: &str, delay: Duration) -> Result<Self> {
        let ends = [one, other].map(|netns| -> Result<File> {
            let device = netns.block(|| lb_sys::create_tun(name).context("make a tun device"))?;
            netns.ip(&format!("link set {name} up\n"))?;
            Ok(device)
        });
        let [one, other] = ends;
        let ends = [one?, other?];
        let (wake, end) = pipe2(OFlag::O_CLOEXEC).context("make a pipe")?;
        Ok(Self {
            end: Some(end),
            carrier: Some(thread::spawn(move || carry(ends, delay, &wake))),
        })
    }
}

/// A packet under way: when it arrives, at which end, and its bytes.
type UnderWay = (Instant, usize, Vec<u8>);

/// Carries packets until the other end of `wake` is closed.
fn carry(mut ends: [File; 2], delay: Duration, wake: &OwnedFd) -> io::Result<()> {
    let mut packet = vec![0; PACKET];
    let mut under_way: VecDeque<UnderWay> = VecDeque::new();
    loop {
        let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = [
            watch(ends[0].as_fd()),
            watch(ends[1].as_fd()),
            watch(wake.as_fd()),
        ];
        let wait = under_way.front().map_or(PollTimeout::NONE, |(due, ..)| {
            // Not a moment early.
            let millis = due
                .saturating_duration_since(Instant::now())
                .as_micros()
                .div_ceil(1000);
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        });
        poll(&mut fds, wait)?;
        let [from_one, from_other, ended] = fds.map(|fd| fd.any() == Some(true));
        if ended {
            return Ok(());
        }
        for (from, has_come) in [from_one, from_other].into_iter().enumerate() {
            if has_come {
                let length = ends[from].read(&mut packet)?;
                let bytes = packet[..length].to_vec();
                under_way.push_back((Instant::now() + delay, 1 - from, bytes));
            }
        }
        while let Some((due, to, bytes)) = under_way.pop_front() {
            if due > Instant::now() {
                under_way.push_front((due, to, bytes));
                break;
            }
            // What the device refuses is lost, as on any wire.
            let _ = ends[to].write(&bytes);
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(carrier) = self.carrier.take()
            && !matches!(carrier.join(), Ok(Ok(())))
        {
            eprintln!("a tunnel's carrier ended early");
        }
    }
}
