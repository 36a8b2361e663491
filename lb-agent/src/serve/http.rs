//! The two HTTP servers. Owns addresses, routes and status codes; what they say comes from `health` and `metrics`.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tracing::{error, info};

use super::{
    health::{Health, Report},
    metrics::Metrics,
};

/// Pause before an address that could not be bound is tried again.
const REBIND: Duration = Duration::from_secs(5);

/// Serves `/livez`, `/readyz` and `/healthz`, for ever.
pub async fn health(address: SocketAddr, health: Arc<Health>) {
    let routes = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/healthz", get(healthz))
        .with_state(health);
    serve("--health-bind-address", address, routes).await;
}

/// Serves `/metrics`, for ever.
pub async fn metrics(address: SocketAddr, metrics: Arc<Metrics>) {
    let routes = Router::new()
        .route("/metrics", get(scrape))
        .with_state(metrics);
    serve("--metrics-bind-address", address, routes).await;
}

/// A port that is taken (by kube-proxy, before it is removed) must not stop the data path: it is told, and tried again.
async fn serve(flag: &str, address: SocketAddr, routes: Router) {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if told {
                    info!(%address, flag, "bound at last");
                }
                match axum::serve(listener, routes.clone()).await {
                    Ok(()) => return,
                    Err(error) => error!(%address, flag, %error, "server ended, starting it again"),
                }
            }
            Err(error) if !told => {
                error!(%address, flag, %error, "cannot bind, trying on: is kube-proxy or another agent still running?");
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(REBIND).await;
    }
}

async fn livez(State(health): State<Arc<Health>>) -> Response {
    let now = jiff::Timestamp::now();
    let report = health.report(Instant::now(), now);
    reply(
        report.alive,
        &serde_json::json!({ "lastUpdated": updated(&report), "currentTime": now.to_string() }),
    )
}

async fn readyz(State(health): State<Arc<Health>>) -> Response {
    let report = health.report(Instant::now(), jiff::Timestamp::now());
    reply(
        report.ready,
        &serde_json::json!({ "ready": report.ready, "alive": report.alive }),
    )
}

async fn healthz(State(health): State<Arc<Health>>) -> Response {
    let now = jiff::Timestamp::now();
    let report = health.report(Instant::now(), now);
    let body = serde_json::json!({
        "lastUpdated": updated(&report),
        "currentTime": now.to_string(),
        "nodeEligible": report.eligible,
    });
    reply(report.alive && report.eligible, &body)
}

fn updated(report: &Report) -> Option<String> {
    report.last_updated.map(|t| t.to_string())
}

fn reply(good: bool, body: &serde_json::Value) -> Response {
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body.to_string()).into_response()
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    // Reads maps: a blocking call for as long as a few system calls take.
    match tokio::task::spawn_blocking(move || metrics.encode()).await {
        Ok(Ok(text)) => {
            let headers = [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )];
            (headers, text).into_response()
        }
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
