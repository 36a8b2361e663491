//! The two HTTP servers. Owns addresses, routes and status codes; what they say comes from `health` and `metrics`.

use std::{
    future::ready,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tracing::{error, info};

use crate::observe::{
    health::{Health, Report},
    kubeproxy::{Codes, KubeProxyMetrics},
    metrics::Metrics,
};

use super::connection::{self, Places};

/// Pause before an address that could not be bound is tried again.
const REBIND: Duration = Duration::from_secs(5);

/// What `/proxyMode` says, where kube-proxy names iptables, ipvs or nftables.
pub(crate) const MODE: &str = "ebpf";

/// Who must know that an address is taken: `bindAddressHardFail` ends the agent then.
pub type Taken = Option<mpsc::Sender<anyhow::Error>>;

/// Serves `/livez`, `/readyz` and `/healthz`, for ever.
pub async fn health(
    address: SocketAddr,
    health: Arc<Health>,
    counts: &KubeProxyMetrics,
    taken: Taken,
) {
    let counted = |codes: &Codes| {
        let codes = codes.clone();
        map_response(move |response: Response| {
            codes.answered(response.status().as_u16());
            ready(response)
        })
    };
    let routes = Router::new()
        .route("/livez", any(livez).layer(counted(&counts.livez)))
        .route("/readyz", any(readyz))
        .route("/healthz", any(healthz).layer(counted(&counts.healthz)))
        .fallback(not_found)
        .with_state(health);
    serve("--health-bind-address", address, routes, taken).await;
}

/// Serves `/metrics`, and what kube-proxy has beside it, for ever; `config` is what `/configz` shows.
pub async fn metrics(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    config: serde_json::Value,
    taken: Taken,
) {
    let text = |text: &'static str| {
        let headers = [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        any(move || ready((headers, text)))
    };
    let routes = Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", text("ok"))
        .route("/proxyMode", text(MODE))
        .route("/configz", any(move || ready(reply(true, &config))))
        .fallback(not_found)
        .with_state(metrics);
    serve("--metrics-bind-address", address, routes, taken).await;
}

/// A port that is taken (by kube-proxy, before it is removed) must not stop the data path, unless somebody wants to know:
/// it is told, and tried again.
async fn serve(flag: &str, address: SocketAddr, routes: Router, taken: Taken) {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if told {
                    info!(%address, flag, "bound at last");
                }
                let routes = TowerToHyperService::new(routes);
                // Its connections end with the process.
                let (_open, end) = watch::channel(());
                connection::serve(listener, routes, Places::default(), end).await;
                return;
            }
            Err(error) if taken.is_some() => {
                let error = anyhow::Error::new(error).context(format!(
                    "bind {address} ({flag}), as bindAddressHardFail asks"
                ));
                if let Some(taken) = &taken {
                    let _ = taken.send(error).await;
                }
                return;
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

/// As kube-proxy's server says it.
async fn not_found() -> Response {
    let headers = [(header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (StatusCode::NOT_FOUND, headers, "404 page not found\n").into_response()
}

async fn livez(State(health): State<Arc<Health>>) -> Response {
    let report = health.report(Instant::now());
    reply(report.alive, &Told::new(&report, report.alive, None))
}

async fn healthz(State(health): State<Arc<Health>>) -> Response {
    let report = health.report(Instant::now());
    let good = report.alive && report.eligible;
    reply(good, &Told::new(&report, good, Some(report.eligible)))
}

/// Ready is a node whose Services have been written, but for those that were refused by name: that one Service does not fit
/// must not hold up a rollout or take the node from all others. Who wants to know reads how many.
async fn readyz(State(health): State<Arc<Health>>) -> Response {
    let report = health.report(Instant::now());
    let body = serde_json::json!({
        "ready": report.ready,
        "alive": report.alive,
        "refusedServices": report.refused,
    });
    reply(report.ready, &body)
}

/// What kube-proxy tells, with its keys in its order (pkg/proxy/healthcheck, `ProxyHealth`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    status: Status,
}

/// kube-proxy has a proxy a family; here one writes both.
#[derive(Serialize)]
struct Status {
    #[serde(rename = "IPv4")]
    v4: OfFamily,
    #[serde(rename = "IPv6")]
    v6: OfFamily,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfFamily {
    last_updated: String,
    healthy: bool,
}

impl Told {
    /// As kube-proxy has it, the last update is the present where the answer is good, and the real one in `status`.
    fn new(report: &Report, good: bool, node_eligible: Option<bool>) -> Self {
        let now = jiff::Timestamp::now();
        let updated = if good { now } else { report.last_updated };
        let family = OfFamily {
            last_updated: report.last_updated.to_string(),
            healthy: report.alive,
        };
        Self {
            last_updated: updated.to_string(),
            current_time: now.to_string(),
            node_eligible,
            healthy: report.alive,
            status: Status {
                v4: family.clone(),
                v6: family,
            },
        }
    }
}

fn reply(good: bool, body: &impl Serialize) -> Response {
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    match serde_json::to_string(body) {
        Ok(body) => (status, headers, body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
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
