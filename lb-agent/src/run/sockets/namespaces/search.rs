//! When processes of pods are looked for, and what is known of where they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Instant,
};

use tracing::info;

use super::ages::{AGAIN, YOUNG};
use crate::{clients::Pods, sockets::namespaces::Look};

/// What was looked for.
#[derive(Debug)]
pub(super) struct Search {
    /// Below which the kubelet makes a cgroup for each pod.
    cgroup: PathBuf,
    /// Since when processes of this pod are looked for, by what the kubelet calls it.
    homeless: BTreeMap<String, Instant>,
    last: Option<Instant>,
    /// Pods are known by their addresses alone.
    is_blind: bool,
}

impl Search {
    pub(super) fn new(cgroup: PathBuf) -> Self {
        Self {
            cgroup,
            homeless: BTreeMap::new(),
            last: None,
            is_blind: false,
        }
    }

    /// Where to look now: each time while a young pod is not found, else now and then, since a pod
    /// may be in another place by then.
    pub(super) fn root(
        &mut self,
        pods: Option<&Pods>,
        homes: &BTreeMap<String, u64>,
        now: Instant,
    ) -> Option<PathBuf> {
        let pods: Vec<&String> = pods?
            .pods
            .values()
            .filter(|pod| !pod.host_network)
            .map(|pod| &pod.cgroup_uid)
            .collect();
        let homeless = pods.iter().filter(|uid| !homes.contains_key(**uid));
        let since = homeless.map(|uid| {
            let since = self.homeless.get(*uid).copied();
            ((*uid).clone(), since.unwrap_or(now))
        });
        self.homeless = since.collect();
        let is_due = self
            .last
            .is_none_or(|last| now.duration_since(last) >= AGAIN);
        let is_young = |since: &Instant| now.duration_since(*since) < YOUNG;
        let must = !self.is_blind && self.homeless.values().any(is_young);
        (must || (is_due && !pods.is_empty())).then(|| {
            self.last = Some(now);
            self.cgroup.clone()
        })
    }

    /// Where a pod's processes were seen, it stays as long as both are there, and no other pod's are
    /// seen in that place.
    pub(super) fn merge(
        &mut self,
        before: &BTreeMap<String, u64>,
        found: &mut Look,
        pods: Option<&Pods>,
    ) {
        if found.are_pods_hidden && !self.is_blind {
            info!(
                "the processes of pods cannot be seen from here (hostPID): which network namespace is a pod's is known by its address alone"
            );
        }
        self.is_blind = found.are_pods_hidden || (self.is_blind && found.pods.is_empty());
        let taken: BTreeSet<u64> = found.pods.values().copied().collect();
        for (uid, cookie) in before {
            if found.namespaces.contains_key(cookie) && !taken.contains(cookie) {
                found.pods.entry(uid.clone()).or_insert(*cookie);
            }
        }
        if let Some(pods) = pods {
            let called: BTreeSet<&str> = pods.pods.values().map(|p| &*p.cgroup_uid).collect();
            found.pods.retain(|uid, _| called.contains(&**uid));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{clients::Pod, model::ObjectKey, sockets::namespaces::Finding};

    fn pods(uids: &[&str]) -> Pods {
        let pod = |uid: &&str| {
            let pod = Pod {
                key: ObjectKey::new("shop", uid),
                uid: (*uid).to_owned(),
                cgroup_uid: (*uid).to_owned(),
                host_network: false,
                ips: Vec::new(),
                annotation: None,
                guess: None,
                is_ending: false,
                created: None,
            };
            (pod.key.clone(), pod)
        };
        Pods {
            pods: uids.iter().map(pod).collect(),
            ..Pods::default()
        }
    }

    fn homes(all: &[(&str, u64)]) -> BTreeMap<String, u64> {
        let all = all.iter();
        all.map(|(uid, cookie)| ((*uid).to_owned(), *cookie))
            .collect()
    }

    fn look(cookies: &[u64], pods: &[(&str, u64)]) -> Look {
        let findings = cookies.iter().map(|cookie| (*cookie, Finding::default()));
        Look {
            namespaces: findings.collect(),
            pods: homes(pods),
            ..Look::default()
        }
    }

    #[test]
    fn a_home_is_kept_until_it_is_gone_or_anothers() {
        let before = homes(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)]);
        let mut search = Search::new(PathBuf::new());
        // 2 is gone, d is, and e is seen where c was; a has gone elsewhere.
        let mut found = look(&[1, 3, 4, 5], &[("a", 5), ("e", 3)]);
        search.merge(&before, &mut found, Some(&pods(&["a", "b", "c", "e"])));
        assert_eq!(found.pods, homes(&[("a", 5), ("e", 3)]));
        let mut found = look(&[1, 3, 4], &[]);
        search.merge(&before, &mut found, None);
        assert_eq!(found.pods, homes(&[("a", 1), ("c", 3), ("d", 4)]));
    }

    #[test]
    fn young_pods_are_looked_for_at_once_and_all_now_and_then() {
        let start = Instant::now();
        let (pods, known) = (pods(&["a"]), homes(&[("a", 1)]));
        let mut search = Search::new(PathBuf::new());
        let looks = |search: &mut Search, homes: &[(&str, u64)], from: u64| {
            let homes = self::homes(homes);
            let seconds = (from..from + 100).filter(|second| {
                let now = start + Duration::from_secs(*second);
                search.root(Some(&pods), &homes, now).is_some()
            });
            seconds.count()
        };
        // Each second for a minute, and twice after that.
        assert_eq!(looks(&mut search, &[], 0), 60 + 2);
        assert_eq!(looks(&mut search, &[("a", 1)], 100), 7);
        // Where nothing can be seen, looking more often helps nobody.
        let mut blind = look(&[1], &[]);
        blind.are_pods_hidden = true;
        search.merge(&known, &mut blind, None);
        assert_eq!(looks(&mut search, &[], 200), 7);
        assert!(search.root(None, &known, start).is_none());
    }
}
