//! The page by HTTP: who may see it, and what a browser is told to do with it. GET and HEAD alone:
//! nothing can be changed through it.

use std::{
    future::ready,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Query, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header, uri::Authority},
    middleware::{Next, from_fn, map_response},
    response::{IntoResponse, Response},
    routing::get,
};

use super::connection::Ends;
use crate::page::{Asked, Page, SCRIPT, STYLE, Unanswered};

/// Of every answer: nothing is loaded from elsewhere or kept, nobody frames it, and what names
/// contain is text.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// `/`, and what belongs to it.
pub(super) fn routes(page: Arc<Page>) -> Router {
    Router::new()
        .route("/", get(show))
        .route("/page.css", get(|| ready(text("text/css", STYLE))))
        .route("/page.js", get(|| ready(text("text/javascript", SCRIPT))))
        .route_layer(from_fn(guard))
        .route_layer(map_response(secure))
        .with_state(page)
}

async fn show(State(page): State<Arc<Page>>, Query(asked): Query<Asked>) -> Response {
    match page.write(&asked).await {
        Ok(page) => text("text/html", Bytes::from_owner(page)),
        Err(busy @ Unanswered::Busy) => {
            let again = [(header::RETRY_AFTER, "2")];
            (StatusCode::SERVICE_UNAVAILABLE, again, format!("{busy}\n")).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn text(kind: &str, body: impl Into<Body>) -> Response {
    let kind = format!("{kind}; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

async fn secure(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// The page is for this node: for its own clients, which `kubectl port-forward` makes of others,
/// also where the address of metrics is open to a network. A name that a stranger's DNS server leads
/// here is none of ours, so that a web site in a browser on this node cannot read the page.
async fn guard(ConnectInfo(ends): ConnectInfo<Ends>, request: Request, next: Next) -> Response {
    let why = if !ends.are_of_one_machine() {
        "this page is shown to clients on this node alone: kubectl port-forward, or ssh -L\n"
    } else if !names_are_literal(&request) {
        "this page is shown at an address or at localhost, and at no other name\n"
    } else {
        return next.run(request).await;
    };
    (StatusCode::FORBIDDEN, why).into_response()
}

/// Is there a name of this server, be it in the request's line or in `Host`, and is none a stranger's?
fn names_are_literal(request: &Request) -> bool {
    let line = request.uri().authority().map(Authority::as_str);
    let hosts = request.headers().get_all(header::HOST).iter();
    let hosts = hosts.map(|host| host.to_str().unwrap_or_default());
    let mut names = line.into_iter().chain(hosts).peekable();
    names.peek().is_some() && names.all(is_literal)
}

/// An address or localhost, with or without a port.
fn is_literal(host: &str) -> bool {
    if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()) {
        return true;
    }
    let v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if v6.is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()) {
        return true;
    }
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    name.eq_ignore_ascii_case("localhost") && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_of_a_request_counts() {
        for (line, hosts, literal) in [
            ("/", &["127.0.0.1:10249"][..], true),
            ("http://127.0.0.1/", &["127.0.0.1"], true),
            ("http://[::1]:10249/", &[], true),
            ("/", &[], false),
            ("http://evil.example/", &["127.0.0.1"], false),
            ("http://127.0.0.1@evil.example/", &["127.0.0.1"], false),
            ("http://127.0.0.1/", &["evil.example"], false),
            ("/", &["127.0.0.1", "evil.example"], false),
            ("/", &["localhost\u{e4}"], false),
        ] {
            let request = axum::http::Request::builder().uri(line);
            let with = |r: axum::http::request::Builder, host: &&str| r.header("Host", *host);
            let request = hosts.iter().fold(request, with);
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(names_are_literal(&request), literal, "{request:?}");
        }
    }

    #[test]
    fn only_addresses_and_localhost_are_literal() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:10249",
            "10.0.0.1:8080",
            "[::1]",
            "[::1]:10249",
            "localhost",
            "LOCALHOST:80",
        ] {
            assert!(is_literal(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:10249",
            "127.0.0.1.evil.example",
            "localhost.evil.example:10249",
            "localhost:",
            "localhost:80:80",
            "::1",
            "node-1:10249",
            "127.0.0.1@evil.example",
            "[::1].evil.example",
            "127.0.0.1:evil",
            "[::1]:evil",
            "[::1]:",
            "127.0.0.1 ",
            "127.1",
            "0x7f000001",
        ] {
            assert!(!is_literal(host), "{host}");
        }
    }
}
