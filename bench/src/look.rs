//! The ways in which the worker finds out who stands behind an address.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    sys::socket::{SockaddrIn, SockaddrIn6, SockaddrStorage, connect, getsockname},
};

use crate::{
    wire::Reached,
    worker::{ask, family, tcp, udp},
};

/// Between two looks for a change.
const PAUSE: Duration = Duration::from_micros(200);
/// Limit of the wait for one.
const AWAIT: Duration = Duration::from_mins(2);

/// Where so many sockets lead, by the kernel's own list.
pub(crate) fn picks(target: SocketAddr, count: u32) -> Result<Vec<(SocketAddr, u64)>> {
    /// Open at once.
    const BATCH: u32 = 500;
    let (to, family) = (SockaddrStorage::from(target), family(target));
    let list = if target.is_ipv4() { "udp" } else { "udp6" };
    let mut picked = BTreeMap::new();
    let mut left = count;
    while left > 0 {
        let batch = left.min(BATCH);
        let mut open = Vec::new();
        for _ in 0..batch {
            let fd = udp(family)?;
            connect(fd.as_raw_fd(), &to).context("connect, UDP")?;
            open.push(fd);
        }
        for (_, peer) in peers(list)? {
            *picked.entry(peer).or_default() += 1;
        }
        left -= batch;
    }
    Ok(picked.into_iter().collect())
}

/// A refusal is an answer like any other: not the wanted one.
pub(crate) fn until_reached(target: SocketAddr, wanted: SocketAddr) -> Result<f64> {
    let (to, family) = (SockaddrStorage::from(target), family(target));
    let start = Instant::now();
    loop {
        let fd = tcp(family)?;
        let connected = connect(fd.as_raw_fd(), &to).is_ok();
        if connected && ask(&fd).is_ok_and(|answer| answer == wanted) {
            return Ok(crate::wire::now());
        }
        if start.elapsed() > AWAIT {
            bail!("{target} does not lead to {wanted}");
        }
        std::thread::sleep(PAUSE);
    }
}

/// Who stands behind an address, by both protocols.
pub(crate) fn reach(target: SocketAddr) -> Result<Reached> {
    let to = SockaddrStorage::from(target);
    let family = family(target);
    let list = if target.is_ipv4() { "udp" } else { "udp6" };
    let fd = tcp(family)?;
    connect(fd.as_raw_fd(), &to).with_context(|| format!("connect to {target}"))?;
    let tcp = ask(&fd)?;
    let fd = udp(family)?;
    connect(fd.as_raw_fd(), &to).with_context(|| format!("connect to {target}, UDP"))?;
    let local: SockaddrStorage = getsockname(fd.as_raw_fd()).context("getsockname")?;
    let port = local
        .as_sockaddr_in()
        .map(SockaddrIn::port)
        .or(local.as_sockaddr_in6().map(SockaddrIn6::port));
    let port = port.context("a socket without a port")?;
    // getpeername would say the VIP: that is what the hook is for.
    let udp = peers(list)?
        .into_iter()
        .find_map(|(local, peer)| (local == port).then_some(peer))
        .ok_or(Errno::ENOENT)
        .context("find a UDP socket in the kernel's list")?;
    Ok(Reached { tcp, udp })
}

/// Local port and remote address of every UDP socket of this namespace, by the kernel's own list
/// `udp` or `udp6`.
fn peers(list: &str) -> Result<Vec<(u16, SocketAddr)>> {
    let path = format!("/proc/thread-self/net/{list}");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    Ok(text.lines().skip(1).filter_map(peer).collect())
}

/// A line of it.
fn peer(line: &str) -> Option<(u16, SocketAddr)> {
    let mut words = line.split_whitespace().skip(1);
    let (_, local) = words.next()?.split_once(':')?;
    let (address, remote) = words.next()?.split_once(':')?;
    // The kernel prints each four bytes as one number of its own byte order.
    let mut bytes = Vec::new();
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?),
    };
    let port = |text| u16::from_str_radix(text, 16).ok();
    Some((port(local)?, SocketAddr::new(address, port(remote)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_read_from_the_kernels_list() {
        let found = peer("    1: 0201010A:E0A1 0000C80A:1F90 01 0");
        assert_eq!(found, Some((0xe0a1, "10.200.0.0:8080".parse().unwrap())));
        let found = peer("1: 0:0050 000066FD000000000000000001000000:0035 01 0");
        assert_eq!(found, Some((80, "[fd66::1]:53".parse().unwrap())));
    }
}
