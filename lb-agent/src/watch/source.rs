//! The source of events: the API server, by the address that answers, or a directory of manifests.
//! Reconnects when the API server is lost.

use std::time::Duration;

use kube::{Client, client::ClientBuilder};
use tokio::{
    sync::{
        mpsc::Sender,
        watch::{self, Receiver},
    },
    time::sleep,
};
use tower::limit::RateLimitLayer;
use tracing::{error, info, warn};

use super::{api, manifests, metrics::WatchMetrics};
use crate::{
    bootstrap::{self, Known},
    model::Event,
    observe::once::Once,
    settings::values::{ClientRate, Source},
};

/// Pauses between attempts to reach the API server.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Failures in a row after which another address of the API server is worth a try.
const PATIENCE: u32 = 4;

/// What a source needs, and where its events go.
pub struct Wiring {
    /// Where objects come from.
    pub source: Source,
    /// Name of our Node.
    pub node: String,
    /// A previous agent has left services.
    pub leftovers: bool,
    /// Where they go.
    pub events: Sender<Event>,
    /// Counts what fails.
    pub metrics: WatchMetrics,
    /// The API server's own addresses, as they are learnt.
    pub known: Receiver<Known>,
    /// The client in use, for writing Events to the API server.
    pub client: watch::Sender<Option<Client>>,
    /// Rate limit of requests to the API server.
    pub rate: Option<ClientRate>,
}

/// Follows the source until the receiver is gone.
pub async fn run(mut wiring: Wiring) {
    if let Source::Manifests(dir) = wiring.source {
        let Wiring {
            node,
            leftovers,
            events,
            metrics,
            ..
        } = wiring;
        manifests::follow(dir, node, leftovers, events, metrics).await;
        return;
    }
    let mut pause = RETRY.0;
    let mut failing = Once::default();
    while !wiring.events.is_closed() {
        match Box::pin(attempt(&mut wiring, &mut failing)).await {
            Ok(()) => pause = RETRY.0,
            Err(error) => {
                let (appeared, _) = failing.update([format!("{error:#}")]);
                for error in appeared {
                    error!(
                        error,
                        "API server unreachable, will retry; the data path keeps working"
                    );
                }
                sleep(pause).await;
                pause = RETRY.1.min(pause * 2);
            }
        }
    }
}

/// Requests beyond the rate wait; a watch counts once, however long it lasts.
fn client(config: kube::Config, rate: Option<ClientRate>) -> anyhow::Result<Client> {
    let builder = ClientBuilder::try_from(config)?;
    let Some(ClientRate { qps, burst }) = rate else {
        return Ok(builder.build());
    };
    let window = Duration::try_from_secs_f64(f64::from(burst) / qps)?;
    let limit = RateLimitLayer::new(burst.into(), window);
    Ok(builder.with_layer(&limit).build())
}

async fn attempt(wiring: &mut Wiring, failing: &mut Once<String>) -> anyhow::Result<()> {
    let Wiring {
        source,
        node,
        leftovers: _,
        events,
        metrics,
        known,
        client: shared,
        rate,
    } = wiring;
    let base = bootstrap::base(source).await?;
    let learnt = known.borrow_and_update().clone();
    let dialled = bootstrap::dial(&base, &learnt).await?;
    info!(url = %dialled.config.cluster_url, "following the API server");
    failing.update([]);
    let patience = if dialled.alternatives {
        PATIENCE
    } else {
        u32::MAX
    };
    let client = client(dialled.config, *rate)?;
    shared.send_replace(Some(client.clone()));
    let follow = api::follow(client, node, patience, events.clone(), metrics);
    tokio::pin!(follow);
    loop {
        tokio::select! {
            ended = &mut follow => {
                if let Err(error) = ended {
                    warn!(error = %format!("{error:#}"), "watches failed, will try the API server's other addresses");
                    sleep(RETRY.0).await;
                }
                return Ok(());
            }
            Ok(()) = known.changed() => {
                let learnt = known.borrow_and_update().clone();
                // The given address has just turned out to be a cluster IP, or its way around has
                // become known.
                if bootstrap::prefers_endpoint(&base, &learnt) && !dialled.around_vip {
                    info!("learned the API server's own addresses, reconnecting without its cluster IP");
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::{Router, routing::get};

    use super::*;

    /// Six requests, two at once and twenty a second: the last pair waits for the end of the second
    /// window.
    #[tokio::test]
    async fn requests_beyond_the_rate_wait_for_their_turn() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().route("/", get(async || "{}"));
        let server = tokio::spawn(async { axum::serve(listener, routes).await });
        let rate = ClientRate {
            qps: 20.0,
            burst: 2,
        };
        let config = kube::Config::new(url.parse().unwrap());
        let client = client(config, Some(rate)).unwrap();
        let start = Instant::now();
        for _ in 0..6 {
            let request = axum::http::Request::get("/").body(Vec::new()).unwrap();
            assert_eq!(client.request_text(request).await.unwrap(), "{}");
        }
        let took = start.elapsed();
        server.abort();
        assert!(took >= Duration::from_millis(200), "{took:?}");
    }
}
