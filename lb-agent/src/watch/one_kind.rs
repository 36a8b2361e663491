//! Follows one kind of object: one event for each list, and one for each change.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
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
    converted::Converted,
    failures::{Answered, Failure, Failures},
    kind::Watched,
    metrics::WatchMetrics,
    unreadable::Unreadable,
};
use crate::observe::{chain, once::Once};

/// A watch is renewed this often, which is also how long a connection that died silently goes
/// unnoticed, seconds.
const RENEW_SECS: u32 = 60;
/// A kind that the API server does not serve, or not to us, it may serve later: retried after this.
const ABSENT: Duration = Duration::from_mins(10);

/// How long a watch puts up with failures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// So many in a row are too many.
    pub(super) patience: u32,
    /// See [`Failures::new`].
    pub(super) stands: Duration,
}

/// Why objects of a kind are not followed at present.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outage {
    /// The API server does not serve the kind, or does not let us read it.
    Absent,
    /// A list or the watch failed.
    Failed,
}

/// Everything of a kind, in watches that are renewed now and then.
pub(super) fn renewed() -> watcher::Config {
    watcher::Config::default().timeout(RENEW_SECS)
}

/// Follows one kind until its events have no receiver, or the server has failed too often.
pub(super) async fn one_kind<K>(
    client: &Client,
    config: watcher::Config,
    limit: Limit,
    events: &Sender<K::Event>,
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
    let mut unreadable = Unreadable::new(kind, metrics);
    let mut failures = Failures::new(limit.stands, answered);
    let mut outage = Once::default();
    loop {
        let event = match stream.try_next().await {
            Ok(Some(event)) => event,
            Ok(None) => bail!("the watch of {kind} ended"),
            Err(error) => {
                if let (Some(code), Some(event)) = (absent(&error), K::absent()) {
                    let (appeared, _) = outage.update([Outage::Absent]);
                    if !appeared.is_empty() {
                        tell_absent::<K>(code, &error);
                        if events.send(event).await.is_err() {
                            return Ok(());
                        }
                    }
                    failures.received();
                    sleep(ABSENT).await;
                    continue;
                }
                metrics.failed(kind);
                let Failure { count, is_first } = failures.failed(Instant::now());
                if is_first {
                    outage.update([]);
                }
                let (appeared, _) = outage.update([Outage::Failed]);
                if appeared.is_empty() {
                    debug!(%kind, failures = count, error = %chain(&error), "watch failed again");
                } else {
                    warn!(%kind, error = %chain(&error), "watch failed, will retry; {}", K::MEANWHILE);
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
        // Names before the list that they belong to.
        if matches!(event, watcher::Event::InitDone)
            && let Some(unread) = unreadable.names().and_then(K::unread)
            && events.send(unread).await.is_err()
        {
            return Ok(());
        }
        let Some(event) = model_event(event, &mut list, &mut unreadable) else {
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
    unreadable: &mut Unreadable,
) -> Option<K::Event> {
    match event {
        watcher::Event::Init => {
            list.clear();
            unreadable.begin();
            None
        }
        watcher::Event::InitApply(Converted { meta, model, error }) => {
            list.extend(model);
            if let Some(why) = error {
                unreadable.listed(&meta, why);
            }
            None
        }
        watcher::Event::InitDone => {
            debug!(kind = %K::KIND, objects = list.len(), "listed");
            unreadable.done();
            Some(K::all(std::mem::take(list)))
        }
        watcher::Event::Apply(Converted { meta, model, error }) => {
            let is_readable = error.is_none();
            unreadable.changed(&meta, error);
            // Else it stays as it was read last.
            is_readable.then(|| match model {
                Some(model) => K::one(model),
                None => K::gone(&meta),
            })
        }
        watcher::Event::Delete(Converted { meta, .. }) => {
            unreadable.changed(&meta, None);
            Some(K::gone(&meta))
        }
    }
}

/// What the API server answers, if it does not know the kind, or does not let us see it.
fn absent(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => {
            matches!(status.code, 403 | 404).then_some(status.code)
        }
        _ => None,
    }
}

fn tell_absent<K: Watched>(code: u16, error: &watcher::Error) {
    let (kind, error) = (K::KIND, chain(error));
    if code == 404 {
        info!(%kind, error = %error, "kind not served");
    } else {
        warn!(%kind, error = %error, "access denied, will retry; {}; the ClusterRole must allow list and watch", K::MEANWHILE);
    }
}

#[cfg(test)]
mod tests;
