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
use k8s_openapi::api::core::v1 as core;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use super::*;
use crate::model::{Event, ObjectKey, Unread};

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

/// A list with one Service that cannot be read, and a watch in which it stays so and another comes.
async fn services(Query(query): Query<Vec<(String, String)>>) -> Response {
    let service = |name: &str, version: &str, ports: serde_json::Value| {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "shop", "resourceVersion": version},
            "spec": {"clusterIP": "10.96.0.7", "ports": ports},
        })
    };
    let (bad, ports) = (serde_json::json!("80"), serde_json::json!([{"port": 80}]));
    if !query.iter().any(|(key, _)| key == "watch") {
        let items = [service("bad", "1", bad), service("good", "1", ports)];
        let list = serde_json::json!({
            "apiVersion": "v1", "kind": "ServiceList",
            "metadata": {"resourceVersion": "1"}, "items": items,
        });
        return Json(list).into_response();
    }
    let events = [
        serde_json::json!({"type": "MODIFIED", "object": service("bad", "2", bad)}),
        serde_json::json!({"type": "ADDED", "object": service("next", "3", ports)}),
    ];
    let lines = events.map(|event| Ok::<_, Infallible>(Bytes::from(format!("{event}\n"))));
    let quiet = futures::stream::pending();
    Body::from_stream(futures::stream::iter(lines).chain(quiet)).into_response()
}

#[tokio::test]
async fn an_object_that_cannot_be_read_stops_no_other() {
    let routes = Router::new().route("/api/v1/services", get(services));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async { axum::serve(listener, routes).await });
    let client = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
    let (events, mut received) = mpsc::channel(16);
    let mut registry = Registry::default();
    let metrics = WatchMetrics::new(&mut registry);
    let limit = Limit {
        patience: 1,
        stands: STANDS,
    };
    let follow = one_kind::<core::Service>(&client, renewed(), limit, &events, &metrics);
    let three = async {
        let mut next = async || received.recv().await;
        (next().await, next().await, next().await)
    };
    let (unread, list, change) = tokio::select! {
        ended = follow => panic!("{ended:?}"),
        three = three => three,
    };
    serving.abort();
    let bad = Unread::Services(vec![ObjectKey::new("shop", "bad")]);
    assert_eq!(unread, Some(Event::Unread(bad)), "it stays as it is known");
    let Some(Event::Services(list)) = list else {
        panic!("{list:?}");
    };
    assert_eq!(list.len(), 1, "{list:?}");
    let Some(Event::Service(change)) = change else {
        panic!("{change:?}");
    };
    assert_eq!(&*change.key.name, "next");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("unreadable_objects{kind=\"service\"} 1"),
        "{text}"
    );
}
