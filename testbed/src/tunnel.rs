//! A tunnel between two namespaces: two devices without link headers, and a thread that carries what
//! one sends to the other.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    thread,
};

use anyhow::{Context as _, Result};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::pipe,
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
        let ends = [one, other].map(|netns| -> Result<File> {
            let device = netns.block(|| lb_sys::create_tun(name).context("make a tun device"))?;
            netns.ip(&format!("link set {name} up\n"))?;
            Ok(device)
        });
        let [one, other] = ends;
        let ends = [one?, other?];
        let (wake, end) = pipe().context("make a pipe")?;
        Ok(Self {
            end: Some(end),
            carrier: Some(thread::spawn(move || carry(ends, &wake))),
        })
    }
}

/// Carries packets until the other end of `wake` is closed.
fn carry([mut one, mut other]: [File; 2], wake: &OwnedFd) -> io::Result<()> {
    let mut packet = vec![0; PACKET];
    loop {
        let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = [
            watch(one.as_fd()),
            watch(other.as_fd()),
            watch(wake.as_fd()),
        ];
        poll(&mut fds, PollTimeout::NONE)?;
        let [from_one, from_other, ended] = fds.map(|fd| fd.any() == Some(true));
        if ended {
            return Ok(());
        }
        if from_one {
            pass(&mut one, &mut other, &mut packet)?;
        }
        if from_other {
            pass(&mut other, &mut one, &mut packet)?;
        }
    }
}

fn pass(from: &mut File, to: &mut File, packet: &mut [u8]) -> io::Result<()> {
    let length = from.read(packet)?;
    // What the device refuses is lost, as on any wire.
    let _ = to.write(&packet[..length]);
    Ok(())
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
