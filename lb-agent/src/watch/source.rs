//! Where events come from: the API server by whichever address answers, or a folder. Owns dialling again.

use std::{sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    sync::{mpsc::Sender, watch::Receiver},
    time::sleep,
};
use tracing::{error, info, warn};

use crate::{
    bootstrap::{self, Known},
    config::Source,
    model::Event,
    serve::metrics::Metrics,
};

use super::{api, manifests};

/// Pauses between attempts to reach the API server.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Failures in a row after which another address of the API server is worth a try.
const PATIENCE: u32 = 4;

/// Follows the source until nobody listens any more. `known` tells the API server's own addresses as they are learnt.
pub async fn run(
    source: Source,
    node: String,
    events: Sender<Event>,
    metrics: Arc<Metrics>,
    mut known: Receiver<Known>,
) {
    if let Source::Manifests(dir) = source {
        manifests::follow(dir, node, events, metrics).await;
        return;
    }
    let mut pause = RETRY.0;
    let mut told = String::new();
    while !events.is_closed() {
        match attempt(&source, &node, &events, &metrics, &mut known, &mut told).await {
            Ok(()) => pause = RETRY.0,
            Err(error) => {
                let text = format!("{error:#}");
                if text != told {
                    error!(error = %text, "no API server; the data path stays as it is");
                    told = text;
                }
                sleep(pause).await;
                pause = RETRY.1.min(pause * 2);
            }
        }
    }
}

async fn attempt(
    source: &Source,
    node: &str,
    events: &Sender<Event>,
    metrics: &Arc<Metrics>,
    known: &mut Receiver<Known>,
    told: &mut String,
) -> anyhow::Result<()> {
    let base = bootstrap::base(source).await?;
    let learnt = known.borrow_and_update().clone();
    let dialled = bootstrap::dial(&base, &learnt).await?;
    info!(url = %dialled.config.cluster_url, "following the API server");
    told.clear();
    let patience = if dialled.alternatives {
        PATIENCE
    } else {
        u32::MAX
    };
    let client = Client::try_from(dialled.config)?;
    let follow = api::follow(client, node, patience, events.clone(), Arc::clone(metrics));
    tokio::pin!(follow);
    loop {
        tokio::select! {
            ended = &mut follow => {
                if let Err(error) = ended {
                    warn!(error = %format!("{error:#}"), "trying the API server's other addresses");
                    sleep(RETRY.0).await;
                }
                return Ok(());
            }
            Ok(()) = known.changed() => {
                let learnt = known.borrow_and_update().clone();
                // The given address has just turned out to be a cluster IP, or its way around has become known.
                if bootstrap::prefers_endpoint(&base, &learnt) && !dialled.around_vip {
                    info!("the API server's own addresses are known now: leaving its cluster IP");
                    return Ok(());
                }
            }
        }
    }
}
