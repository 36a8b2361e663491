//! Follows the Pods of our Node, and the Namespaces, for what they say of the path of a pod's
//! sockets: apart from the objects that are balanced, since nothing of those waits for them.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{api::core::v1 as core, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Client;
use tokio::sync::{
    mpsc::{self, Receiver, Sender},
    watch,
};

use super::{
    failures::STANDS,
    kind::Watched,
    metrics::WatchMetrics,
    object,
    one_kind::{Limit, one_kind, renewed},
};
use crate::{
    clients::{self, ANNOTATION, Pods, Traits, guess},
    model::ObjectKey,
    observe::labels::Kind,
};

/// Events that may wait.
const QUEUE: usize = 64;
/// Whatever fails: other parts of the agent choose the address of the API server.
const LIMIT: Limit = Limit {
    patience: u32::MAX,
    stands: STANDS,
};
const MEANWHILE: &str = "which pods want to be off the socket path is known by what is in their network namespaces alone, or as it was";

/// What has changed among the objects of one kind.
#[derive(Debug)]
pub enum Change<K, V> {
    /// The whole list.
    All(Vec<(K, V)>),
    /// New or changed.
    One(K, V),
    /// Deleted, or nothing is to be known of it.
    Gone(K),
    /// We may not see them.
    Hidden,
}

/// What was received.
#[derive(Debug)]
pub enum PodEvent {
    /// Pods of this node that have not ended.
    Pods(Change<ObjectKey, clients::Pod>),
    /// The annotation of namespaces that have it, by name.
    Namespaces(Change<String, String>),
}

impl Watched for core::Pod {
    type Model = clients::Pod;
    type Event = PodEvent;
    const KIND: Kind = Kind::pod;
    const MEANWHILE: &'static str = MEANWHILE;

    fn convert(&self) -> Option<clients::Pod> {
        pod(self)
    }
    fn one(pod: clients::Pod) -> PodEvent {
        PodEvent::Pods(Change::One(pod.key.clone(), pod))
    }
    fn gone(meta: &ObjectMeta) -> PodEvent {
        PodEvent::Pods(Change::Gone(object::key(meta)))
    }
    fn all(list: Vec<clients::Pod>) -> PodEvent {
        let all = list.into_iter().map(|pod| (pod.key.clone(), pod));
        PodEvent::Pods(Change::All(all.collect()))
    }
    fn absent() -> Option<PodEvent> {
        Some(PodEvent::Pods(Change::Hidden))
    }
}

impl Watched for core::Namespace {
    /// Name and annotation.
    type Model = (String, String);
    type Event = PodEvent;
    const KIND: Kind = Kind::namespace;
    const MEANWHILE: &'static str = MEANWHILE;

    fn convert(&self) -> Option<(String, String)> {
        let annotations = self.metadata.annotations.as_ref()?;
        let annotation = annotations.get(ANNOTATION)?;
        Some((self.metadata.name.clone()?, annotation.clone()))
    }
    fn one((name, annotation): (String, String)) -> PodEvent {
        PodEvent::Namespaces(Change::One(name, annotation))
    }
    fn gone(meta: &ObjectMeta) -> PodEvent {
        PodEvent::Namespaces(Change::Gone(meta.name.clone().unwrap_or_default()))
    }
    fn all(list: Vec<(String, String)>) -> PodEvent {
        PodEvent::Namespaces(Change::All(list))
    }
    fn absent() -> Option<PodEvent> {
        Some(PodEvent::Namespaces(Change::Hidden))
    }
}

/// Follows through each client in turn until nobody listens any more.
pub async fn follow(
    client: watch::Receiver<Option<Client>>,
    node: String,
    told: watch::Sender<Option<Arc<Pods>>>,
    metrics: WatchMetrics,
) {
    let (events, received) = mpsc::channel(QUEUE);
    tokio::select! {
        () = told.closed() => {}
        () = through_all(client, &node, &events, &metrics) => {}
        () = tell(received, &told) => {}
    }
}

async fn through_all(
    mut client: watch::Receiver<Option<Client>>,
    node: &str,
    events: &Sender<PodEvent>,
    metrics: &WatchMetrics,
) {
    while let Ok(current) = client.wait_for(Option::is_some).await.map(|c| c.clone()) {
        let Some(current) = current else { continue };
        let of_node = renewed().fields(&format!("spec.nodeName={node}"));
        tokio::select! {
            // Another address of the API server answers now.
            changed = client.changed() => if changed.is_err() {
                return;
            },
            _ = async {
                tokio::join!(
                    one_kind::<core::Pod>(&current, of_node, LIMIT, events, metrics),
                    one_kind::<core::Namespace>(&current, renewed(), LIMIT, events, metrics),
                )
            } => return,
        }
    }
}

/// Tells what is new, once both are listed.
async fn tell(mut received: Receiver<PodEvent>, told: &watch::Sender<Option<Arc<Pods>>>) {
    let (mut pods, mut namespaces) = (None, None);
    while let Some(event) = received.recv().await {
        let is_new = match event {
            PodEvent::Pods(change) => apply(&mut pods, change),
            PodEvent::Namespaces(change) => apply(&mut namespaces, change),
        };
        if let (true, Some(pods), Some(namespaces)) = (is_new, &pods, &namespaces) {
            let (pods, namespaces) = (pods.clone(), namespaces.clone());
            told.send_replace(Some(Arc::new(Pods { pods, namespaces })));
        }
    }
}

/// Did it change anything? `None`: not listed yet.
fn apply<K: Ord, V: PartialEq>(known: &mut Option<BTreeMap<K, V>>, change: Change<K, V>) -> bool {
    let is_first = known.is_none();
    let map = known.get_or_insert_default();
    is_first
        | match change {
            Change::All(list) => {
                let now = list.into_iter().collect();
                let before = std::mem::replace(map, now);
                before != *map
            }
            Change::One(key, value) => {
                let is_new = map.get(&key) != Some(&value);
                map.insert(key, value);
                is_new
            }
            Change::Gone(key) => map.remove(&key).is_some(),
            Change::Hidden => false,
        }
}

/// Nothing of one that has ended.
fn pod(pod: &core::Pod) -> Option<clients::Pod> {
    let meta = &pod.metadata;
    let uid = meta.uid.clone().unwrap_or_default();
    let (annotations, labels) = (
        meta.annotations.clone().unwrap_or_default(),
        meta.labels.clone().unwrap_or_default(),
    );
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    let spec = pod.spec.as_ref()?;
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let init = spec.init_containers.iter().flatten();
    let containers: Vec<&str> = spec
        .containers
        .iter()
        .chain(init)
        .map(|c| &*c.name)
        .collect();
    let ips = status.and_then(|status| status.pod_ips.as_ref());
    Some(clients::Pod {
        key: object::key(meta),
        // The API server's pod is a mirror of the kubelet's, which is called by this hash.
        cgroup_uid: match annotations.get("kubernetes.io/config.mirror") {
            Some(hash) => hash.clone(),
            None => uid.clone(),
        },
        uid,
        host_network: spec.host_network == Some(true),
        ips: ips
            .into_iter()
            .flatten()
            .filter_map(|ip| ip.ip.parse().ok())
            .collect(),
        annotation: annotations.get(ANNOTATION).cloned(),
        guess: guess(&Traits {
            annotations: &annotations,
            labels: &labels,
            runtime_class: spec.runtime_class_name.as_deref(),
            containers: &containers,
        }),
        is_ending: meta.deletion_timestamp.is_some(),
        created: meta.creation_timestamp.as_ref().map(|at| at.0),
    })
}

#[cfg(test)]
mod tests;
