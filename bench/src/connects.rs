//! A client that opens one connection after the other, as users do, beside one that it keeps, and
//! counts what fails.

use std::{
    fs,
    net::SocketAddr,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{SockaddrStorage, connect};

use crate::{
    wire::Connects,
    worker::{ask, family, tcp},
};

/// Between two attempts: others need the CPU too.
const PAUSE: Duration = Duration::from_millis(1);

/// Opens connections until the time is over.
pub(crate) fn until(target: SocketAddr, time: Duration) -> Result<Connects> {
    let retried = syns_again()?;
    let start = Instant::now();
    let mut counts = Connects::default();
    let mut kept = open(target).context("open a connection before anything happens")?;
    while start.elapsed() < time {
        counts.attempts += 1;
        if open(target).and_then(|fd| ask(&fd)).is_err() {
            counts.failed += 1;
        }
        if ask(&kept).is_err() {
            counts.broken += 1;
            // Its failure is counted as one of those that are opened.
            if let Ok(again) = open(target) {
                kept = again;
            }
        }
        std::thread::sleep(PAUSE);
    }
    counts.retried = syns_again()? - retried;
    Ok(counts)
}

fn open(target: SocketAddr) -> Result<OwnedFd> {
    let fd = tcp(family(target))?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(target)).context("connect")?;
    Ok(fd)
}

/// SYNs of this namespace that were sent more than once, so far.
fn syns_again() -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").context("read netstat")?;
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (
        lines.next().unwrap_or_default().split(' '),
        lines.next().unwrap_or_default().split(' '),
    );
    let mut found = names
        .zip(values)
        .filter(|(name, _)| *name == "TCPSynRetrans");
    let (_, value) = found.next().context("the kernel counts no TCPSynRetrans")?;
    value.parse().context("a counter is a number")
}
