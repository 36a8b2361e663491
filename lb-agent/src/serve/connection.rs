//! Connections of the small HTTP servers. Owns how one is taken in, served and ended, and how many there may be at once;
//! knows no route.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{body::Body, extract::Request, http::Response};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::sleep,
};
use tracing::debug;

/// A client that says nothing for so long is sent away.
const SILENCE: Duration = Duration::from_mins(2);
/// After a failed accept(), which means that descriptors have run out: some may be closed meanwhile.
const PAUSE: Duration = Duration::from_millis(200);
/// Connections at once, of all servers that share a [`Places`].
const MAX: usize = 4096;

/// Places for connections: whoever comes when all are taken is sent away, so that clients from outside cannot take every
/// descriptor of the agent.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX)))
    }
}

/// Takes connections in, for ever. When the sender of `end` goes, those that are open end after the answer under way.
pub(super) async fn serve<S>(
    listener: TcpListener,
    service: S,
    places: Places,
    end: watch::Receiver<()>,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(place) = Arc::clone(&places.0).try_acquire_owned() else {
                    continue;
                };
                let (service, end) = (service.clone(), end.clone());
                tokio::spawn(async move {
                    connection(stream, service, end).await;
                    drop(place);
                });
            }
            Err(error) => {
                debug!(%error, "cannot take a connection in");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection<S>(stream: TcpStream, service: S, mut end: watch::Receiver<()>)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let connection = http1::Builder::new()
        // As kube-proxy spells them: health checkers exist that compare text.
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        // Nothing is ever sent: this is the end of the sender.
        _ = end.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "a connection broke");
    }
}
