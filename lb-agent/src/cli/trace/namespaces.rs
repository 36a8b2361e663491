//! Whose network namespace a socket is in, by its addresses: a socket that connects has none itself.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    ops::ControlFlow,
    thread,
    time::{Duration, Instant},
};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags, sys::socket::SockaddrStorage};

use crate::sockets::netns::{self, Processes};

/// Between two looks at least: one costs a few microseconds a pod.
const AGAIN: Duration = Duration::from_secs(1);

/// Addresses of network namespaces, by their cookies.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    known: HashMap<u64, BTreeSet<IpAddr>>,
    looked: Option<Instant>,
    /// This process may not enter others.
    is_denied: bool,
}

impl Namespaces {
    /// Looks at all of them, unless it did so a moment ago or may not.
    pub(super) fn look(&mut self) {
        let is_fresh = self.looked.is_some_and(|at| at.elapsed() < AGAIN);
        if is_fresh || self.is_denied {
            return;
        }
        self.looked = Some(Instant::now());
        // Its thread stays in the last namespace, so it ends there.
        let found = thread::spawn(|| {
            netns::permitted()?;
            let mut all = HashMap::new();
            netns::visit(&mut Processes::default(), |_, entered| {
                all.extend(entered.map(|cookie| (cookie, addresses())));
                ControlFlow::Continue(())
            })?;
            Ok::<_, std::io::Error>(all)
        });
        match found.join() {
            Ok(Ok(all)) => self.known = all,
            _ => self.is_denied = true,
        }
    }

    /// May this process enter network namespaces?
    pub(super) fn is_denied(&self) -> bool {
        self.is_denied
    }

    /// The cookies of those with an address that `wanted` admits.
    pub(super) fn with(&self, wanted: impl Fn(IpAddr) -> bool) -> Vec<u64> {
        let all = self.known.iter();
        all.filter(|(_, addresses)| addresses.iter().any(|ip| wanted(*ip)))
            .map(|(cookie, _)| *cookie)
            .collect()
    }

    /// The address of this family that the namespace has, if it has one alone.
    pub(super) fn address(&mut self, cookie: u64, is_v4: bool) -> Option<IpAddr> {
        if cookie == 0 {
            return None;
        }
        if !self.known.contains_key(&cookie) {
            self.look();
        }
        let all = self.known.get(&cookie)?;
        let mut family = all.iter().filter(|ip| ip.is_ipv4() == is_v4);
        let first = family.next()?;
        family.next().is_none().then_some(*first)
    }
}

/// Those of the calling thread's namespace that others reach.
fn addresses() -> BTreeSet<IpAddr> {
    let all = getifaddrs().into_iter().flatten();
    all.filter(|i| !i.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .filter_map(|i| i.address.as_ref().and_then(ip))
        .filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
        .collect()
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|a| a.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|a| a.ip().into()))
}
