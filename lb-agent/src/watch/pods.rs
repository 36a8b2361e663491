//! Follows the Pods of our Node, and the Namespaces, for what they say of the path of a pod's
//! sockets: apart from the objects that are balanced, since nothing of those waits for them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, Client,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watcher},
    },
};
use tokio::{
    sync::watch::{Receiver, Sender},
    time::sleep,
};
use tracing::{info, warn};

use super::object;
use crate::{
    clients::{self, ANNOTATION, Pods, Traits, guess},
    observe::{
        chain,
        once::{Change, Outage},
    },
};

/// A watch is renewed this often, seconds.
const RENEW_SECS: u32 = 60;
/// What the API server does not let us see, it may later.
const DENIED: Duration = Duration::from_mins(10);

/// What is known so far; `None`: not listed yet.
#[derive(Default)]
struct Listed {
    pods: Option<BTreeMap<String, clients::Pod>>,
    namespaces: Option<BTreeMap<String, String>>,
}

/// Follows through each client in turn until nobody listens any more.
pub async fn follow(
    mut client: Receiver<Option<Client>>,
    node: String,
    told: Sender<Option<Arc<Pods>>>,
) {
    let listed = Mutex::new(Listed::default());
    while let Ok(current) = client.wait_for(Option::is_some).await.map(|c| c.clone()) {
        let Some(current) = current else { continue };
        tokio::select! {
            () = told.closed() => return,
            // Another address of the API server answers now.
            changed = client.changed() => if changed.is_err() {
                return;
            },
            () = through(&current, &node, &listed, &told) => return,
        }
    }
}

async fn through(
    client: &Client,
    node: &str,
    listed: &Mutex<Listed>,
    told: &Sender<Option<Arc<Pods>>>,
) {
    let config = || watcher::Config::default().timeout(RENEW_SECS);
    let of_node = config().fields(&format!("spec.nodeName={node}"));
    let pods = watcher(Api::<Pod>::all(client.clone()), of_node);
    let namespaces = watcher(
        Api::<PartialObjectMeta<Namespace>>::all(client.clone()),
        config(),
    );
    tokio::join!(
        one_kind(pods.default_backoff().boxed(), "Pod", of_pod, |pods| {
            let mut listed = listed.lock().unwrap_or_else(PoisonError::into_inner);
            listed.pods = Some(pods.clone());
            tell(&listed, told);
        }),
        one_kind(
            namespaces.default_backoff().boxed(),
            "Namespace",
            of_namespace,
            |namespaces| {
                let mut listed = listed.lock().unwrap_or_else(PoisonError::into_inner);
                listed.namespaces = Some(namespaces.clone());
                tell(&listed, told);
            }
        ),
    );
}

/// Tells what is new, once both are listed.
fn tell(listed: &Listed, told: &Sender<Option<Arc<Pods>>>) {
    let (Some(pods), Some(namespaces)) = (&listed.pods, &listed.namespaces) else {
        return;
    };
    let now = Pods {
        pods: pods.clone(),
        namespaces: namespaces.clone(),
    };
    told.send_if_modified(|before| {
        let is_new = before.as_deref() != Some(&now);
        if is_new {
            *before = Some(Arc::new(now));
        }
        is_new
    });
}

/// Follows one kind. `convert` says what an object is called, and what is to be known of it. What we
/// may not see is none.
async fn one_kind<K, V>(
    mut events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Unpin,
    kind: &'static str,
    convert: impl Fn(&K) -> (String, Option<V>),
    tell: impl Fn(&BTreeMap<String, V>),
) {
    let (mut known, mut list) = (BTreeMap::new(), BTreeMap::new());
    let mut outage = Outage::default();
    while let Some(event) = events.next().await {
        let change = outage.after(&event);
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                if change == Change::Began {
                    warn!(kind, error = %chain(&error), "cannot follow, will retry: which pods want to be off the socket path is known by what is in their network namespaces alone, or as it was; the ClusterRole must allow list and watch");
                }
                if is_denied(&error) {
                    tell(&known);
                    sleep(DENIED).await;
                }
                continue;
            }
        };
        if change == Change::Ended {
            info!(kind, "followed again");
        }
        match event {
            watcher::Event::Init => list = BTreeMap::new(),
            watcher::Event::InitApply(object) => insert(&mut list, convert(&object)),
            watcher::Event::InitDone => {
                known = std::mem::take(&mut list);
                tell(&known);
            }
            watcher::Event::Apply(object) => {
                insert(&mut known, convert(&object));
                tell(&known);
            }
            watcher::Event::Delete(object) => {
                known.remove(&convert(&object).0);
                tell(&known);
            }
        }
    }
}

fn insert<V>(all: &mut BTreeMap<String, V>, (key, value): (String, Option<V>)) {
    match value {
        Some(value) => all.insert(key, value),
        None => all.remove(&key),
    };
}

fn is_denied(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => status.code == 403,
        _ => false,
    }
}

/// By UID; nothing of a pod that has ended.
fn of_pod(pod: &Pod) -> (String, Option<clients::Pod>) {
    let meta = &pod.metadata;
    let uid = meta.uid.clone().unwrap_or_default();
    let (annotations, labels) = (
        meta.annotations.clone().unwrap_or_default(),
        meta.labels.clone().unwrap_or_default(),
    );
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    let Some(spec) = &pod.spec else {
        return (uid, None);
    };
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return (uid, None);
    }
    let init = spec.init_containers.iter().flatten();
    let containers: Vec<&str> = spec
        .containers
        .iter()
        .chain(init)
        .map(|c| &*c.name)
        .collect();
    let ips = status.and_then(|status| status.pod_ips.as_ref());
    let model = clients::Pod {
        key: object::key(meta),
        // The API server's pod is a mirror of the kubelet's, which is called by this hash.
        cgroup_uid: match annotations.get("kubernetes.io/config.mirror") {
            Some(hash) => hash.clone(),
            None => uid.clone(),
        },
        uid: uid.clone(),
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
    };
    (uid, Some(model))
}

/// By name; nothing of one without the annotation.
fn of_namespace(namespace: &PartialObjectMeta<Namespace>) -> (String, Option<String>) {
    let meta = &namespace.metadata;
    let annotation = meta
        .annotations
        .as_ref()
        .and_then(|all| all.get(ANNOTATION));
    (meta.name.clone().unwrap_or_default(), annotation.cloned())
}
