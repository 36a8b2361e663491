//! Watches the API server: one event for each list, and one for each change. Losing the server
//! changes only a metric.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::{
    core::v1 as core, discovery::v1 as discovery, networking::v1 as networking,
};
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc::Sender, time::sleep};
use tracing::{debug, info, warn};

use super::{
    cluster_uid,
    converted::Converted,
    failures::{Answered, Failure, Failures, STANDS},
    kind::Watched,
    metrics::WatchMetrics,
    object::{HEADLESS, PROXY_NAME},
};
use crate::{
    model::Event,
    observe::{chain, once::Once},
};

/// A watch is renewed this often, which is also how long a connection that died silently goes
/// unnoticed, seconds.
const RENEW_SECS: u32 = 60;

/// A kind that the API server does not serve, it may serve after an upgrade: retried after this.
const ABSENT: Duration = Duration::from_mins(10);

/// How long a watch puts up with failures.
#[derive(Clone, Copy, Debug)]
struct Limit {
    /// So many in a row are too many.
    patience: u32,
    /// See [`Failures::new`].
    stands: Duration,
}

/// Follows everything through one client, until the server has failed `patience` times in a row or
/// the receiver is gone.
pub async fn follow(
    client: Client,
    node: &str,
    patience: u32,
    events: Sender<Event>,
    metrics: &WatchMetrics,
) -> Result<()> {
    let services = watcher::Config::default()
        .labels(&format!("!{PROXY_NAME}"))
        .fields("spec.clusterIP!=None")
        .timeout(RENEW_SECS);
    let slices = watcher::Config::default()
        .labels(&format!("!{HEADLESS}"))
        .timeout(RENEW_SECS);
    let our_node = watcher::Config::default()
        .fields(&format!("metadata.name={node}"))
        .timeout(RENEW_SECS);
    let limit = Limit {
        patience,
        stands: STANDS,
    };
    tokio::try_join!(
        one_kind::<core::Service>(&client, services, limit, &events, metrics),
        one_kind::<discovery::EndpointSlice>(&client, slices, limit, &events, metrics),
        one_kind::<core::Node>(&client, our_node, limit, &events, metrics),
        one_kind::<networking::ServiceCIDR>(
            &client,
            watcher::Config::default().timeout(RENEW_SECS),
            limit,
            &events,
            metrics
        ),
        async {
            cluster_uid::tell(&client, &events).await;
            Ok(())
        },
    )?;
    Ok(())
}

/// Why objects of a kind are not followed at present.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outage {
    /// The API server does not serve the kind, or does not let us read it.
    Absent,
    /// A list or the watch failed.
    Failed,
}

/// Follows one kind until its events have no receiver; fails as [`follow`] does.
async fn one_kind<K>(
    client: &Client,
    config: watcher::Config,
    limit: Limit,
    events: &Sender<Event>,
    metrics: &WatchMetrics,
) -> Result<()>
where
    K: Watched + Resource<DynamicType = ()> + DeserializeOwned + 'static,
{
    let kind = K::KIND;
    let answered = Answered::default();
    let api = Api::<Converted<K>>::all(answered.record(client));
    let mut stream = watcher(api, config).default_backoff().boxed();
    let mut list = Vec::new();
    let mut failures = Failures::new(limit.stands, answered);
    let mut outage = Once::default();
    loop {
        let event = match stream.try_next().await {
            Ok(Some(event)) => event,
            Ok(None) => bail!("the watch of {kind} ended"),
            Err(error) if K::MAY_BE_ABSENT && is_absent(&error) => {
                let (appeared, _) = outage.update([Outage::Absent]);
                if !appeared.is_empty() {
                    info!(%kind, error = %chain(&error), "kind not served, or access denied");
                    if events.send(K::all(Vec::new())).await.is_err() {
                        return Ok(());
                    }
                }
                failures.received();
                sleep(ABSENT).await;
                continue;
            }
            Err(error) => {
                metrics.failed(kind);
                let Failure { count, is_first } = failures.failed(Instant::now());
                if is_first {
                    outage.update([]);
                }
                let (appeared, _) = outage.update([Outage::Failed]);
                if appeared.is_empty() {
                    debug!(%kind, failures = count, error = %chain(&error), "watch failed again");
                } else {
                    warn!(%kind, error = %chain(&error), "watch failed, will retry; the data path keeps working");
                }
                if count >= limit.patience {
                    bail!(
                        "the watch of {kind} failed {count} times in a row: {}",
                        chain(&error)
                    );
                }
                continue;
            }
        };
        let Some(event) = model_event(event, &mut list) else {
            continue;
        };
        failures.received();
        let (_, gone) = outage.update([]);
        if !gone.is_empty() {
            info!(%kind, "watch recovered");
        }
        if events.send(event).await.is_err() {
            return Ok(());
        }
    }
}

/// The event for the model; `None` while a list is being received, whose objects wait in `list`.
fn model_event<K: Watched>(
    event: watcher::Event<Converted<K>>,
    list: &mut Vec<K::Model>,
) -> Option<Event> {
    match event {
        watcher::Event::Init => {
            list.clear();
            None
        }
        watcher::Event::InitApply(object) => {
            list.extend(object.model);
            None
        }
        watcher::Event::InitDone => {
            debug!(kind = %K::KIND, objects = list.len(), "listed");
            Some(K::all(std::mem::take(list)))
        }
        watcher::Event::Apply(Converted { meta, model }) => Some(match model {
            Some(model) => K::one(model),
            None => K::gone(&meta),
        }),
        watcher::Event::Delete(object) => Some(K::gone(&object.meta)),
    }
}

/// Does the API server not know the kind, or not let us see it?
fn is_absent(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => {
            matches!(status.code, 403 | 404)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
