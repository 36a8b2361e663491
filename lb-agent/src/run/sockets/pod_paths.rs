//! `--socket-lb auto`: which pod is in which network namespace, on which path it is, and what is told
//! of it.

use std::collections::{BTreeMap, BTreeSet};

use tracing::warn;

use crate::{
    clients::{Because, Decision, Path, Pod, Pods, decide},
    model::ObjectKey,
    observe::{
        events::{About, EventQueue, EventRequest},
        once::{Change, Once, Outage},
        pod_file::{KeptPods, PodFile, PodPath},
    },
    sockets::namespaces::{Look, Reason},
};

/// Of the Event about a [`Decision::conflict`].
const REASON: &str = "SocketLbConflict";

/// What was told last, and where it is told.
pub(in crate::run) struct PodPaths {
    file: PodFile,
    events: EventQueue,
    told: Once<(ObjectKey, String, String)>,
    written: Option<KeptPods>,
    outage: Outage,
}

/// What pods say of a network namespace, whatever else is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Word {
    pub(super) path: Path,
    pub(super) because: Because,
}

impl PodPaths {
    pub(in crate::run) fn new(file: PodFile, events: EventQueue) -> Self {
        Self {
            file,
            events,
            told: Once::default(),
            written: None,
            outage: Outage::default(),
        }
    }

    /// Decides for each pod, tells what is new, and returns the word of those that have one, by
    /// cookie.
    pub(super) fn decide(&mut self, pods: &Pods, look: &Look) -> BTreeMap<u64, Word> {
        let mut words = BTreeMap::new();
        let mut rows = Vec::new();
        let mut conflicts = Vec::new();
        for pod in pods.pods.values() {
            let homes = Homes::of(pod, look);
            let decision = decide(pod, pods.of_namespace(pod), homes.reason(look));
            homes.say(&decision, &mut words);
            if let Some(conflict) = &decision.conflict {
                conflicts.push((pod.key.clone(), pod.uid.clone(), conflict.clone()));
            }
            rows.push(row(pod, decision, homes.cookies));
        }
        self.tell(conflicts);
        self.store(rows);
        words
    }

    fn tell(&mut self, conflicts: Vec<(ObjectKey, String, String)>) {
        let (appeared, _) = self.told.update(conflicts);
        for (key, uid, text) in appeared {
            warn!(pod = %key, reason = REASON, "{text}");
            // One that finds no room is in the log.
            self.events.push(EventRequest {
                about: About::Pod(key, uid),
                reason: REASON,
                action: "ChoosePath",
                text,
            });
        }
    }

    fn store(&mut self, mut rows: Vec<PodPath>) {
        rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let kept = KeptPods { pods: rows };
        if self.written.as_ref() == Some(&kept) {
            return;
        }
        let done = self.file.store(kept.clone());
        if let (Change::Began, Err(error)) = (self.outage.after(&done), &done) {
            warn!(
                error = format!("{error:#}"),
                "`get pods` shows what was: see --state-dir"
            );
        }
        self.written = done.is_ok().then_some(kept);
    }
}

/// The network namespaces that a pod is, or may be, in.
struct Homes {
    cookies: Vec<u64>,
    /// By its processes, or the only one with its address.
    certain: bool,
}

impl Homes {
    fn of(pod: &Pod, look: &Look) -> Self {
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
        let ips: BTreeSet<_> = pod.ips.iter().collect();
        let has_one = look.namespaces.iter().filter(|(cookie, finding)| {
            let of_another = look.pods.values().any(|other| other == *cookie);
            !of_another && finding.addresses.iter().any(|ip| ips.contains(ip))
        });
        let cookies: Vec<u64> = has_one.map(|(cookie, _)| *cookie).collect();
        Self {
            certain: cookies.len() == 1,
            cookies,
        }
    }

    /// What is in it, if it is known which one it is.
    fn reason(&self, look: &Look) -> Option<Reason> {
        let home = self.cookies.first().filter(|_| self.certain)?;
        look.namespaces.get(home)?.reason
    }

    /// To leave alone what may be the pod's does no harm; to translate against what is seen does.
    fn say(&self, decision: &Decision, words: &mut BTreeMap<u64, Word>) {
        let Decision { path, because, .. } = decision;
        let asked = matches!(because, Because::Annotation | Because::NamespaceAnnotation);
        if *path == Path::Socket && !(asked && self.certain) {
            return;
        }
        for cookie in &self.cookies {
            let word = Word {
                path: *path,
                because: *because,
            };
            let said = words.entry(*cookie).or_insert(word);
            if *path == Path::Packet {
                *said = word;
            }
        }
    }
}

fn row(pod: &Pod, decision: Decision, netns: Vec<u64>) -> PodPath {
    PodPath {
        namespace: pod.key.namespace.to_string(),
        name: pod.key.name.to_string(),
        path: decision.path.name().to_owned(),
        reason: decision.because.name().to_owned(),
        because: decision.because.in_words(),
        conflict: decision.conflict,
        netns,
        addresses: pod.ips.iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sockets::namespaces::Finding;

    fn pod(uid: &str, ip: &str, annotation: Option<&str>) -> Pod {
        Pod {
            key: ObjectKey::new("shop", uid),
            uid: uid.to_owned(),
            cgroup_uid: uid.to_owned(),
            host_network: false,
            ips: vec![ip.parse().unwrap()],
            annotation: annotation.map(str::to_owned),
            guess: None,
        }
    }

    fn look(namespaces: &[(u64, &str, Option<Reason>)], pods: &[(&str, u64)]) -> Look {
        let finding = |(cookie, ip, reason): &(u64, &str, Option<Reason>)| {
            let addresses = BTreeSet::from([ip.parse().unwrap()]);
            (
                *cookie,
                Finding {
                    reason: *reason,
                    addresses,
                },
            )
        };
        Look {
            namespaces: namespaces.iter().map(finding).collect(),
            pods: pods
                .iter()
                .map(|(uid, cookie)| ((*uid).to_owned(), *cookie))
                .collect(),
        }
    }

    fn words(pods: &[Pod], look: &Look) -> BTreeMap<u64, Path> {
        let mut words = BTreeMap::new();
        for pod in pods {
            let homes = Homes::of(pod, look);
            homes.say(&decide(pod, None, homes.reason(look)), &mut words);
        }
        words
            .into_iter()
            .map(|(cookie, word)| (cookie, word.path))
            .collect()
    }

    #[test]
    fn a_pod_is_where_its_processes_are_or_else_where_its_address_is() {
        let off = |uid, ip| pod(uid, ip, Some("off"));
        let there = look(&[(1, "10.0.0.1", None), (2, "10.0.0.2", None)], &[("a", 2)]);
        let found = words(&[off("a", "10.0.0.1")], &there);
        assert_eq!(found, BTreeMap::from([(2, Path::Packet)]));
        let found = words(&[off("b", "10.0.0.1")], &there);
        assert_eq!(found, BTreeMap::from([(1, Path::Packet)]));
        // Not another pod's, whatever addresses it has.
        assert!(words(&[off("b", "10.0.0.2")], &there).is_empty());
    }

    #[test]
    fn who_is_translated_against_what_is_seen_must_be_certain() {
        let on = |uid, ip| pod(uid, ip, Some("on"));
        let rules = Some(Reason::Rules);
        let one = look(&[(1, "10.0.0.1", rules)], &[]);
        assert_eq!(
            words(&[on("a", "10.0.0.1")], &one),
            BTreeMap::from([(1, Path::Socket)])
        );
        // A nested cluster's pod has the same address.
        let two = look(&[(1, "10.0.0.1", rules), (2, "10.0.0.1", rules)], &[]);
        assert!(words(&[on("a", "10.0.0.1")], &two).is_empty());
        let off = pod("a", "10.0.0.1", Some("off"));
        assert_eq!(words(&[off], &two).len(), 2);
    }
}
