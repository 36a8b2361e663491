//! What a load balancer reads from a Service's health check port: kube-proxy's body, headers and
//! status.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, Response, StatusCode, header},
};
use hyper::{body::Incoming, service::Service};

use crate::{model::ObjectKey, observe::health::Health};

/// How many endpoints of the Service this node has, for load balancers that weigh nodes by it.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// What a server reports of its Service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Status {
    /// Endpoints of its family on this node.
    pub(super) local_endpoints: u32,
    /// Its node ports are in the maps.
    pub(super) programmed: bool,
}

/// The facts of one Service in one family; they change while servers answer from them.
#[derive(Debug)]
pub(super) struct Facts {
    service: ObjectKey,
    local_endpoints: AtomicU32,
    programmed: AtomicBool,
    health: Arc<Health>,
}

impl Facts {
    /// No endpoint yet.
    pub(super) fn new(service: ObjectKey, health: Arc<Health>) -> Arc<Self> {
        Arc::new(Self {
            service,
            local_endpoints: AtomicU32::new(0),
            programmed: AtomicBool::new(false),
            health,
        })
    }

    /// From now on.
    pub(super) fn set(&self, status: Status) {
        let Status {
            local_endpoints,
            programmed,
        } = status;
        self.programmed.store(programmed, Ordering::Relaxed);
        self.local_endpoints
            .store(local_endpoints, Ordering::Relaxed);
    }

    fn answer(&self) -> Response<Body> {
        let n = self.local_endpoints.load(Ordering::Relaxed);
        let alive = self.health.report(Instant::now()).alive;
        let healthy = alive && self.programmed.load(Ordering::Relaxed);
        // Namespaces and names are DNS labels: nothing in them wants escaping.
        let ObjectKey { namespace, name } = &self.service;
        let body = format!(
            "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\"localEndpoints\": {n},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
        );
        let mut response = Response::new(Body::from(body));
        if n == 0 || !healthy {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let nosniff = HeaderValue::from_static("nosniff");
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        headers.insert(WEIGHT, HeaderValue::from(n));
        response
    }
}

/// Answers every path and method.
#[derive(Clone, Debug)]
pub(super) struct Answer(pub(super) Arc<Facts>);

impl Service<Request<Incoming>> for Answer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn call(&self, _: Request<Incoming>) -> Self::Future {
        ready(Ok(self.0.answer()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_endpoints_of_a_programmed_service_on_a_healthy_node_are_worth_traffic() {
        let health = Arc::new(Health::new(Duration::from_mins(1), jiff::Timestamp::now()));
        let facts = Facts::new(ObjectKey::new("default", "web"), Arc::clone(&health));
        let set = |local_endpoints, programmed| {
            facts.set(Status {
                local_endpoints,
                programmed,
            });
        };
        let status = || facts.answer().status().as_u16();
        assert_eq!(status(), 503);
        set(2, true);
        assert_eq!(status(), 200);
        assert_eq!(facts.answer().headers()[WEIGHT], "2");
        set(2, false);
        assert_eq!(status(), 503);
        set(0, true);
        assert_eq!(status(), 503);
        // A Node that leaves still serves what it has: kube-proxy's health check ports do not look
        // at it.
        set(1, true);
        health.leaving(true);
        assert_eq!(status(), 200);
        let long_ago = Instant::now().checked_sub(Duration::from_hours(1));
        health.queued(long_ago.unwrap());
        assert_eq!(status(), 503);
    }
}
