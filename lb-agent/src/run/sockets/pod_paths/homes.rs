//! Which network namespaces are a pod's, and what it says of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Rank, Word};
use crate::{
    clients::{Because, Decision, Path, Pod, Pods},
    sockets::namespaces::{Look, Reason},
};

/// Whose each address is. A pod that ends names its address while the next one may have it already.
pub(super) struct Holders<'p>(BTreeMap<IpAddr, &'p Pod>);

impl<'p> Holders<'p> {
    pub(super) fn of(pods: &'p Pods) -> Self {
        let mut all = BTreeMap::new();
        for pod in pods.pods.values().filter(|pod| !pod.host_network) {
            for ip in &pod.ips {
                let holder = all.entry(*ip).or_insert(pod);
                if age(pod) > age(holder) {
                    *holder = pod;
                }
            }
        }
        Self(all)
    }

    fn has(&self, pod: &Pod, ip: IpAddr) -> bool {
        self.0.get(&ip).is_some_and(|holder| holder.uid == pod.uid)
    }
}

/// Which network namespaces have an address of a pod, but for those in which a pod's processes were
/// seen.
pub(super) struct Places(BTreeMap<IpAddr, Vec<u64>>);

impl Places {
    pub(super) fn of(look: &Look, holders: &Holders<'_>) -> Self {
        let taken: BTreeSet<&u64> = look.pods.values().collect();
        let mut all: BTreeMap<IpAddr, Vec<u64>> = BTreeMap::new();
        for (cookie, finding) in &look.namespaces {
            if taken.contains(cookie) {
                continue;
            }
            for ip in &finding.addresses {
                if holders.0.contains_key(ip) {
                    all.entry(*ip).or_default().push(*cookie);
                }
            }
        }
        Self(all)
    }
}

/// The greatest has the address.
fn age(pod: &Pod) -> impl Ord {
    (!pod.is_ending, pod.created)
}

/// The network namespaces that a pod is, or may be, in.
pub(super) struct Homes {
    pub(super) cookies: Vec<u64>,
    /// By its processes, or the only one with its address.
    certain: bool,
}

impl Homes {
    pub(super) fn of(pod: &Pod, holders: &Holders<'_>, places: &Places, look: &Look) -> Self {
        if pod.host_network {
            return Self {
                cookies: Vec::new(),
                certain: false,
            };
        }
        if let Some(cookie) = look.pods.get(&pod.cgroup_uid) {
            return Self {
                cookies: vec![*cookie],
                certain: true,
            };
        }
        let ips = pod.ips.iter().filter(|ip| holders.has(pod, **ip));
        let cookies: BTreeSet<u64> = ips
            .filter_map(|ip| places.0.get(ip))
            .flatten()
            .copied()
            .collect();
        Self {
            certain: cookies.len() == 1,
            cookies: cookies.into_iter().collect(),
        }
    }

    /// What is in it, if it is known which one it is.
    pub(super) fn reason(&self, look: &Look) -> Option<Reason> {
        let home = self.cookies.first().filter(|_| self.certain)?;
        look.namespaces.get(home)?.reason
    }

    /// To leave alone what may be the pod's does no harm; to translate against what is seen does.
    pub(super) fn say(&self, decision: &Decision, words: &mut BTreeMap<u64, Word>) {
        let Decision { path, because, .. } = decision;
        let asked = matches!(because, Because::Annotation | Because::NamespaceAnnotation);
        if *path == Path::Socket && !(asked && self.certain) {
            return;
        }
        let word = Word {
            path: *path,
            because: *because,
            rank: Rank::of(*because, self.certain),
        };
        for cookie in &self.cookies {
            let said = words.entry(*cookie).or_insert(word);
            let is_more = said.path == Path::Socket || word.rank < said.rank;
            if *path == Path::Packet && is_more {
                *said = word;
            }
        }
    }
}

#[cfg(test)]
mod tests;
