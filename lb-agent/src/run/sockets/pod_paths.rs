//! `--socket-lb auto`: which pod is in which network namespace, on which path it is, and what is told
//! of it.

use std::collections::{BTreeMap, BTreeSet};

use tracing::warn;

use self::homes::{Holders, Homes, Places};
use super::namespaces::Rank;
use crate::{
    clients::{Because, Decision, Path, Pod, Pods, decide},
    model::ObjectKey,
    observe::{
        events::{About, EventQueue, EventRequest},
        once::{Change, Once, Outage},
        pod_file::{KeptPods, PodFile, PodPath},
    },
    sockets::namespaces::Look,
};

mod homes;

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
    pub(super) rank: Rank,
}

/// What is decided of all pods.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// Of those namespaces that have one, by cookie.
    pub(super) words: BTreeMap<u64, Word>,
    rows: Vec<PodPath>,
    conflicts: Vec<(ObjectKey, String, String)>,
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

    /// Tells what is new. Some namespaces that were to be left alone were refused.
    pub(super) fn tell(&mut self, mut decided: Decided, refused: &BTreeSet<u64>) {
        for row in &mut decided.rows {
            let is_refused = row.netns.iter().any(|cookie| refused.contains(cookie));
            if is_refused && row.path == Path::Packet.name() {
                let text = "lb_netns is full: its sockets are translated";
                row.conflict.get_or_insert_with(|| text.to_owned());
            }
        }
        let (appeared, _) = self.told.update(decided.conflicts);
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
        self.store(decided.rows);
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

impl Decided {
    /// Decides for each pod.
    pub(super) fn of(pods: &Pods, look: &Look) -> Self {
        let mut all = Self::default();
        let holders = Holders::of(pods);
        let places = Places::of(look, &holders);
        for pod in pods.pods.values() {
            let homes = Homes::of(pod, &holders, &places, look);
            let decision = decide(pod, pods.of_namespace(pod), homes.reason(look));
            homes.say(&decision, &mut all.words);
            if let Some(conflict) = &decision.conflict {
                let conflict = (pod.key.clone(), pod.uid.clone(), conflict.clone());
                all.conflicts.push(conflict);
            }
            all.rows.push(row(pod, decision, homes.cookies));
        }
        all
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
