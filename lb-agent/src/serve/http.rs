//! The two HTTP servers, of health and of metrics: their addresses, routes and status codes.

use std::{
    future::ready,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
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

use super::{
    connection::{self, Places},
    page,
};
use crate::{
    observe::{
        health::{Health, Report},
        kubeproxy::{Codes, KubeProxyMetrics},
        metrics::{Format, Registries},
        once::{Change, Outage},
    },
    page::Page,
};

/// Pause before the bind of an address is retried.
const REBIND: Duration = Duration::from_secs(5);

/// The body of `/proxyMode`, where kube-proxy names iptables, ipvs or nftables.
pub(crate) const MODE: &str = "ebpf";

/// What happens where an address cannot be bound.
#[derive(Clone, Debug)]
pub enum BindFailure {
    /// It is logged and retried: an address that kube-proxy still has must not stop the data path.
    Retry,
    /// The error is sent here and ends the agent, as `bindAddressHardFail` asks.
    Fatal(mpsc::Sender<anyhow::Error>),
}

/// Serves `/livez`, `/readyz` and `/healthz`, forever.
pub async fn health(
    address: SocketAddr,
    health: Arc<Health>,
    counts: &KubeProxyMetrics,
    failure: BindFailure,
) {
    let counted = |codes: &Codes| {
        let codes = codes.clone();
        map_response(move |response: Response| {
            codes.responded(response.status().as_u16());
            ready(response)
        })
    };
    let routes = Router::new()
        .route("/livez", any(livez).layer(counted(&counts.livez)))
        .route("/readyz", any(readyz))
        .route("/healthz", any(healthz).layer(counted(&counts.healthz)))
        .fallback(not_found)
        .with_state(health);
    serve("--health-bind-address", address, routes, failure).await;
}

/// Serves `/metrics`, what kube-proxy has beside it, and the page, forever; `config` is the body of
/// `/configz`.
pub async fn metrics(
    address: SocketAddr,
    registries: Arc<Registries>,
    page: Arc<Page>,
    config: serde_json::Value,
    failure: BindFailure,
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
        .route(
            "/configz",
            any(move || ready(reply(Verdict::Good, &config))),
        )
        .fallback(not_found)
        .with_state(registries)
        .merge(page::routes(page));
    serve("--metrics-bind-address", address, routes, failure).await;
}

/// Binds, and serves forever.
async fn serve(flag: &str, address: SocketAddr, routes: Router, failure: BindFailure) {
    let mut outage = Outage::default();
    let listener = loop {
        let bound = TcpListener::bind(address).await;
        let change = outage.after(&bound);
        match (bound, &failure) {
            (Ok(listener), _) => {
                if change == Change::Ended {
                    info!(%address, flag, "bound after a retry");
                }
                break listener;
            }
            (Err(error), BindFailure::Fatal(failed)) => {
                let error = anyhow::Error::new(error).context(format!(
                    "bind {address} ({flag}), as bindAddressHardFail asks"
                ));
                // Without a receiver the agent is ending already.
                let _ = failed.send(error).await;
                return;
            }
            (Err(error), BindFailure::Retry) if change == Change::Began => {
                error!(%address, flag, %error, "cannot bind, will retry: is kube-proxy or another agent still running?");
            }
            (Err(_), BindFailure::Retry) => {}
        }
        tokio::time::sleep(REBIND).await;
    };
    let routes = TowerToHyperService::new(routes);
    // Its connections end with the process.
    let (_open, end) = watch::channel(());
    connection::serve(listener, routes, Places::default(), end).await;
}

/// The text of kube-proxy's server.
async fn not_found() -> Response {
    let headers = [(header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (StatusCode::NOT_FOUND, headers, "404 page not found\n").into_response()
}

async fn livez(State(health): State<Arc<Health>>) -> Response {
    let report = health.report(Instant::now());
    let verdict = Verdict::of(report.alive);
    reply(verdict, &HealthzBody::new(&report, verdict, None))
}

async fn healthz(State(health): State<Arc<Health>>) -> Response {
    let report = health.report(Instant::now());
    let verdict = Verdict::of(report.alive && report.eligible);
    let body = HealthzBody::new(&report, verdict, Some(report.eligible));
    reply(verdict, &body)
}

/// A node is ready once its Services have been written, and while every program that was attached
/// is attached. Refused Services do not count: one Service that
/// does not fit must not hold up a rollout, nor take the node from all others. The body says how
/// many there are.
async fn readyz(State(health): State<Arc<Health>>) -> Response {
    let report = health.report(Instant::now());
    let body = serde_json::json!({
        "ready": report.ready,
        "alive": report.alive,
        "refusedServices": report.refused,
        "missingPrograms": report.missing,
    });
    reply(Verdict::of(report.ready), &body)
}

/// kube-proxy's body, with its keys in its order (pkg/proxy/healthcheck, `ProxyHealth`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HealthzBody {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    status: Status,
}

/// kube-proxy has one proxy per family; the agent writes both.
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

impl HealthzBody {
    /// As in kube-proxy, the last update is the present where the verdict is good, and the real one
    /// in `status`.
    fn new(report: &Report, verdict: Verdict, node_eligible: Option<bool>) -> Self {
        let now = jiff::Timestamp::now();
        let updated = match verdict {
            Verdict::Good => now,
            Verdict::Bad => report.last_updated,
        };
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

/// Status 200 or 503.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Good,
    Bad,
}

impl Verdict {
    fn of(good: bool) -> Self {
        if good { Self::Good } else { Self::Bad }
    }
}

fn reply(verdict: Verdict, body: &impl Serialize) -> Response {
    let status = match verdict {
        Verdict::Good => StatusCode::OK,
        Verdict::Bad => StatusCode::SERVICE_UNAVAILABLE,
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

async fn scrape(State(registries): State<Arc<Registries>>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter();
    let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
    let format = Format::wanted(&accept.join(","));
    // Reads maps: a blocking call for as long as a few system calls take.
    match tokio::task::spawn_blocking(move || registries.encode(format)).await {
        Ok(Ok(text)) => {
            let headers = [
                (header::CONTENT_TYPE, format.content_type()),
                (header::VARY, "Accept"),
            ];
            (headers, text).into_response()
        }
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
