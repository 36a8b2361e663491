use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use super::*;

/// How long a watch of the tests must have stood, and how long the server lets it stand.
const STANDS: Duration = Duration::from_millis(50);

/// How an API server treats watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Watches {
    /// Lets each second one stand for a while without an event, and refuses the others, as one that
    /// is restarted now and then.
    Restarted,
    /// Refuses them.
    Refused,
}

/// Counts the watches that were begun.
#[derive(Clone, Debug)]
struct Server {
    watches: Watches,
    begun: Arc<AtomicU32>,
}

async fn nodes(
    State(server): State<Server>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    if !query.iter().any(|(key, _)| key == "watch") {
        let list = serde_json::json!({
            "apiVersion": "v1", "kind": "NodeList",
            "metadata": {"resourceVersion": "1"}, "items": [],
        });
        return Json(list).into_response();
    }
    let before = server.begun.fetch_add(1, Ordering::Relaxed);
    if server.watches == Watches::Refused || before % 2 == 1 {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let quiet = futures::stream::once(async {
        sleep(2 * STANDS).await;
        Ok::<_, Infallible>(Bytes::new())
    });
    Body::from_stream(quiet).into_response()
}

/// Follows Nodes through such a server, until it has failed twice in a row or so many watches have
/// begun; returns whether the watch has ended.
async fn follow_nodes(watches: Watches, stands: Duration, most: u32) -> bool {
    let begun = Arc::new(AtomicU32::new(0));
    let server = Server {
        watches,
        begun: Arc::clone(&begun),
    };
    let routes = Router::new().route("/api/v1/nodes", get(nodes));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = routes.with_state(server);
    let serving = tokio::spawn(async { axum::serve(listener, routes).await });
    let client = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
    let (events, mut received) = mpsc::channel(16);
    let metrics = WatchMetrics::new(&mut Registry::default());
    let limit = Limit {
        patience: 2,
        stands,
    };
    let config = watcher::Config::default();
    let follow = one_kind::<core::Node>(&client, config, limit, &events, &metrics);
    let enough = async {
        while begun.load(Ordering::Relaxed) < most {
            sleep(STANDS).await;
        }
    };
    let ended = tokio::select! {
        ended = follow => ended.is_err(),
        () = enough => false,
    };
    assert!(
        matches!(received.try_recv(), Ok(Event::NodeGone)),
        "{watches:?}: no list"
    );
    serving.abort();
    ended
}

#[tokio::test]
async fn a_quiet_watch_that_stood_each_time_never_exhausts_the_patience() {
    assert!(!follow_nodes(Watches::Restarted, STANDS, 6).await);
}

#[tokio::test]
async fn a_watch_that_is_refused_again_and_again_ends() {
    assert!(follow_nodes(Watches::Refused, STANDS, 6).await);
}

#[tokio::test]
async fn a_watch_that_stands_too_short_a_time_between_failures_ends() {
    assert!(follow_nodes(Watches::Restarted, Duration::from_hours(1), 6).await);
}
