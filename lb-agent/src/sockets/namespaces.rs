//! Network namespaces whose sockets are to be left alone, found by what is in them: rules that
//! translate what their processes send (a mesh's side-car, the proxy of a nested cluster), or an
//! address that is a cluster IP.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
};

use nix::ifaddrs::getifaddrs;

use super::{destroy::on_a_thread, netns};
use crate::netfilter::{Socket, tables};

/// Why the sockets of a namespace are left alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// Its own rules translate what its processes send: they must see what was asked for.
    Rules,
    /// A device of it has a cluster IP: who asks there means that.
    Address,
}

impl Reason {
    /// In a few words.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Rules => "rules of its own translate what its processes send (nat output)",
            Self::Address => "it has a cluster IP itself",
        }
    }
}

/// By cookie (SO_NETNS_COOKIE): `None` for a namespace like any pod's.
pub type Namespaces = BTreeMap<u64, Option<Reason>>;

/// Looks into every network namespace but the caller's own. Those of `known` are not looked into
/// again. Fails if namespaces may not be entered.
pub async fn look(
    known: Namespaces,
    is_cluster_ip: impl Fn(IpAddr) -> bool + Send + 'static,
) -> anyhow::Result<Namespaces> {
    let found = on_a_thread(move || {
        let own = lb_sys::netns_cookie().map_err(io::Error::other)?;
        let mut found = Namespaces::new();
        netns::visit(|cookie| {
            if cookie != own {
                let reason = known.get(&cookie).copied();
                let reason = reason.unwrap_or_else(|| judge(&is_cluster_ip));
                found.insert(cookie, reason);
            }
            false
        })?;
        Ok::<_, io::Error>(found)
    });
    Ok(found.await??)
}

/// The calling thread is inside. What cannot be read is no reason.
fn judge(is_cluster_ip: impl Fn(IpAddr) -> bool) -> Option<Reason> {
    if Socket::open().is_ok_and(|mut s| tables::translate_output(&mut s).unwrap_or(false)) {
        return Some(Reason::Rules);
    }
    let addresses = getifaddrs().into_iter().flatten().filter_map(|found| {
        let address = found.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    });
    let addresses: BTreeSet<IpAddr> = addresses.collect();
    let has_one = addresses.into_iter().any(is_cluster_ip);
    has_one.then_some(Reason::Address)
}
