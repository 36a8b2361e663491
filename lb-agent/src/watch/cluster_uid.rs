//! What identifies the cluster: the UID of the namespace `kube-system`, which exists as long as the
//! cluster does (kube-apiserver makes it again if it is gone) and is the usual identity of one.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use tokio::{sync::mpsc::Sender, time::sleep};
use tracing::{debug, warn};

use crate::{
    model::Event,
    observe::{chain, once::Once},
};

const NAMESPACE: &str = "kube-system";

/// Pauses between attempts.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));

/// Asks until the API server answers, once.
pub(super) async fn tell(client: &Client, events: &Sender<Event>) {
    let api = Api::<Namespace>::all(client.clone());
    let mut pause = RETRY.0;
    let mut failing = Once::default();
    while !events.is_closed() {
        match api.get_metadata(NAMESPACE).await {
            Ok(namespace) => {
                if let Some(uid) = namespace.metadata.uid {
                    // Without a receiver the agent is about to end.
                    let _ = events.send(Event::ClusterUid(uid)).await;
                }
                return;
            }
            Err(error) => {
                let (appeared, _) = failing.update([chain(&error)]);
                for error in appeared {
                    warn!(
                        error,
                        "cannot read the namespace {NAMESPACE}, will retry: until then packets are placed by the last known key, or by none; the ClusterRole must allow it, see --cluster-key-file for another way"
                    );
                }
                debug!(?pause, "will ask for the cluster's identity again");
            }
        }
        sleep(pause).await;
        pause = RETRY.1.min(pause * 2);
    }
}
