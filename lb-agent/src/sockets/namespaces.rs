//! What is in the network namespaces of this machine that tells whether their sockets are to be left
//! alone: rules that translate what their processes send (a mesh's side-car, the proxy of a nested
//! cluster), or an address that is a cluster IP. And which pod is in which.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::PathBuf,
};

use nix::ifaddrs::getifaddrs;

use super::{destroy::on_a_thread, netns, pod_cgroups};
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
    /// One word, for machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Address => "address",
        }
    }

    /// In a few words.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Rules => "rules of its own translate what its processes send (nat output)",
            Self::Address => "it has a cluster IP itself",
        }
    }
}

/// What is in a namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Finding {
    /// `None` for a namespace like any pod's.
    pub reason: Option<Reason>,
    /// Of its devices.
    pub addresses: BTreeSet<IpAddr>,
}

/// By cookie (SO_NETNS_COOKIE).
pub type Namespaces = BTreeMap<u64, Finding>;

/// What one look has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// Every namespace but the agent's own.
    pub namespaces: Namespaces,
    /// The cookies of those in which a pod's processes were seen, by what the kubelet calls the pod
    /// in the name of its cgroup.
    pub pods: BTreeMap<String, u64>,
}

/// Looks into every network namespace but the caller's own. Those of `known` are not looked into
/// again. The processes of pods are looked for below the cgroup `root`, if one is given. Fails if
/// namespaces may not be entered.
pub async fn look(
    known: Namespaces,
    root: Option<PathBuf>,
    is_cluster_ip: impl Fn(IpAddr) -> bool + Send + 'static,
) -> anyhow::Result<Look> {
    let found = on_a_thread(move || {
        let own = lb_sys::netns_cookie().map_err(io::Error::other)?;
        let mut look = Look::default();
        let mut cookies = BTreeMap::new();
        netns::visit(|id, cookie| {
            if cookie != own {
                cookies.insert(id, cookie);
                let known = known.get(&cookie).cloned();
                let finding = known.unwrap_or_else(|| judge(&is_cluster_ip));
                look.namespaces.insert(cookie, finding);
            }
            false
        })?;
        let pods = root.map(|root| pod_cgroups::namespaces(&root));
        let homes = pods.into_iter().flatten();
        look.pods = homes
            .filter_map(|(uid, id)| Some((uid, *cookies.get(&id)?)))
            .collect();
        Ok::<_, io::Error>(look)
    });
    Ok(found.await??)
}

/// The calling thread is inside. What cannot be read is no reason.
fn judge(is_cluster_ip: impl Fn(IpAddr) -> bool) -> Finding {
    let addresses = getifaddrs().into_iter().flatten().filter_map(|found| {
        let address = found.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    });
    let addresses: BTreeSet<IpAddr> = addresses.collect();
    let translates =
        Socket::open().is_ok_and(|mut s| tables::translate_output(&mut s).unwrap_or(false));
    let reason = if translates {
        Some(Reason::Rules)
    } else {
        let has_one = addresses.iter().copied().any(is_cluster_ip);
        has_one.then_some(Reason::Address)
    };
    Finding { reason, addresses }
}
