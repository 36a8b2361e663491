//! Connections of the HTTP servers: how one is accepted, served and ended, and how many may be open
//! at once.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    http::Response,
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::sleep,
};
use tracing::debug;

/// A connection whose first request has not arrived by then is closed: it would keep a place from
/// others.
const FIRST: Duration = Duration::from_secs(5);
/// A connection that is idle for this long is closed, and one whose client takes nothing of an
/// answer (the kernel sees to that). No common interval of health checks, so that the close does not
/// meet the next request.
const SILENCE: Duration = Duration::from_secs(17);
/// Pause after a failed accept(), which means that the process is out of descriptors.
const PAUSE: Duration = Duration::from_millis(200);
/// Open connections in the places that servers share.
const SHARED: usize = 4096;
/// Of those, what one server may take.
const PER_SERVER: usize = 512;
/// Open connections of one server beside the shared ones: no other server can take these.
const OWN: usize = 16;

/// Both addresses of a connection; a request carries them as [`ConnectInfo`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    client: SocketAddr,
    server: SocketAddr,
}

impl Ends {
    fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self {
            client: stream.peer_addr()?,
            server: stream.local_addr()?,
        })
    }

    /// The client is on this machine: on loopback, or at the very address that it asks. The kernel
    /// takes neither as a source from elsewhere.
    pub(super) fn are_of_one_machine(self) -> bool {
        let [client, server] = [self.client, self.server].map(|end| end.ip().to_canonical());
        client.is_loopback() || client == server
    }
}

/// Places for connections of one server. A client that finds none free is closed at once, so that
/// clients from outside cannot exhaust the descriptors of the agent; a silent client loses its
/// place.
#[derive(Clone, Debug)]
pub(super) struct Places {
    own: Arc<Semaphore>,
    shared: Shared,
    /// Of the shared places.
    portion: Arc<Semaphore>,
    first: Duration,
    silence: Duration,
}

/// Places that several servers share.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Semaphore>);

/// One place that is taken.
enum Place {
    Own(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
    Shared(#[expect(dead_code, reason = "held")] [OwnedSemaphorePermit; 2]),
}

impl Default for Shared {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SHARED)))
    }
}

impl Places {
    fn new(own: usize, portion: usize, shared: Shared) -> Self {
        Self {
            own: Arc::new(Semaphore::new(own)),
            shared,
            portion: Arc::new(Semaphore::new(portion)),
            first: FIRST,
            silence: SILENCE,
        }
    }

    /// For one of many servers: some of its own, so that others cannot starve it, and a portion of
    /// the shared ones, so that it cannot starve others.
    pub(super) fn one_of(shared: &Shared) -> Self {
        Self::new(OWN, PER_SERVER, shared.clone())
    }

    fn take(&self) -> Option<Place> {
        let take = |from: &Arc<Semaphore>| Arc::clone(from).try_acquire_owned().ok();
        if let Some(place) = take(&self.own) {
            return Some(Place::Own(place));
        }
        let portion = take(&self.portion)?;
        Some(Place::Shared([portion, take(&self.shared.0)?]))
    }
}

/// For a server that shares with no other.
impl Default for Places {
    fn default() -> Self {
        Self::new(0, SHARED, Shared::default())
    }
}

/// Accepts connections forever. When the sender of `end` is dropped, open ones end after the
/// response under way.
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
                let Some(place) = places.take() else {
                    continue;
                };
                let (service, places, end) = (service.clone(), places.clone(), end.clone());
                tokio::spawn(async move {
                    connection(stream, service, &places, end).await;
                    drop(place);
                });
            }
            Err(error) => {
                debug!(%error, "cannot accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection<S>(stream: TcpStream, service: S, places: &Places, mut end: watch::Receiver<()>)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    // Both fail only if the client has gone already.
    let Ok(ends) = Ends::of(&stream) else {
        return;
    };
    if setsockopt(&stream, TcpUserTimeout, &millis(places.silence)).is_err() {
        return;
    }
    let asked = Arc::new(AtomicBool::new(false));
    let has_asked = Arc::clone(&asked);
    let service = service_fn(move |mut request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(ConnectInfo(ends));
        service.call(request)
    });
    let connection = http1::Builder::new()
        // As kube-proxy spells them: some health checkers compare text.
        .title_case_headers(true)
        .timer(TokioTimer::new())
        // It also counts from the end of a response, and so bounds a connection that is kept open.
        .header_read_timeout(places.silence)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let never_asked = async {
        sleep(places.first).await;
        if asked.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    };
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = never_asked => return,
        // Nothing is ever sent: the sender was dropped.
        _ = end.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "a connection broke");
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read as _, Write as _},
        net::{SocketAddr, TcpStream},
        time::Instant,
    };

    use axum::body::Bytes;

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_hours(1);
    const DEADLINE: Duration = Duration::from_secs(20);

    /// So many of a server that shares with no other.
    fn places(max: usize, first: Duration, silence: Duration) -> Places {
        Places {
            first,
            silence,
            ..Places::new(0, max, Shared::default())
        }
    }

    /// Serves with this runtime, on a port of loopback.
    async fn server(places: Places) -> (SocketAddr, watch::Sender<()>) {
        server_of("ok".into(), places).await
    }

    /// The same with this answer.
    async fn server_of(text: Bytes, places: Places) -> (SocketAddr, watch::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (open, end) = watch::channel(());
        let answer = service_fn(move |_: Request<Incoming>| {
            std::future::ready(Ok(Response::new(Body::from(text.clone()))))
        });
        tokio::spawn(serve(listener, answer, places, end));
        (at, open)
    }

    /// A connection with one request that stays open, if the server lets it in.
    fn ask(at: SocketAddr) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .ok()?;
        let mut answer = [0; 4096];
        match stream.read(&mut answer) {
            Ok(n) if n > 0 => Some(stream),
            Ok(_) => None,
            Err(error) => {
                assert_ne!(
                    error.kind(),
                    ErrorKind::WouldBlock,
                    "neither answer nor end"
                );
                None
            }
        }
    }

    /// Waits until another client is let in.
    fn kept_out(at: SocketAddr) {
        let start = Instant::now();
        while ask(at).is_none() {
            assert!(start.elapsed() < DEADLINE, "others are kept out");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connections_that_never_ask_give_their_places_up() {
        let (at, _open) = server(places(2, SHORT, LONG)).await;
        let mut silent = TcpStream::connect(at).unwrap();
        let mut slow = TcpStream::connect(at).unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
        kept_out(at);
        for stream in [&mut silent, &mut slow] {
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            let end = stream.read(&mut [0; 64]);
            let closed = |e: &std::io::Error| e.kind() == ErrorKind::ConnectionReset;
            assert!(
                matches!(&end, Ok(0)) || end.as_ref().is_err_and(closed),
                "{end:?}"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connections_that_are_kept_open_give_their_places_up_later() {
        let (at, _open) = server(places(2, SHORT, 3 * SHORT)).await;
        let start = Instant::now();
        let kept = [ask(at).unwrap(), ask(at).unwrap()];
        kept_out(at);
        assert!(start.elapsed() >= 3 * SHORT, "before their time");
        drop(kept);
        // One that has asked stays beyond the time for a first request.
        let (at, _open) = server(places(1, SHORT, LONG)).await;
        let mut kept = ask(at).unwrap();
        tokio::time::sleep(2 * SHORT).await;
        kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        assert!(kept.read(&mut [0; 64]).unwrap() > 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn clients_that_take_no_answer_give_their_places_up() {
        // More than buffers of sockets hold.
        let text = vec![b'x'; 64 << 20].into();
        let (at, _open) = server_of(text, places(2, LONG, SHORT)).await;
        let slow = [ask(at).unwrap(), ask(at).unwrap()];
        kept_out(at);
        drop(slow);
    }

    /// How many of these are let in, and stay.
    fn fill(at: SocketAddr, connections: usize) -> Vec<TcpStream> {
        (0..connections).filter_map(|_| ask(at)).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_has_places_that_others_cannot_take() {
        let shared = Shared(Arc::new(Semaphore::new(5)));
        let one = || Places::new(2, 4, shared.clone());
        let (first, _open) = server(one()).await;
        let (second, _open) = server(one()).await;
        let (third, _open) = server(one()).await;
        // Its own two and its portion of four; then what the first has left, and nothing.
        for (at, expected) in [(first, 6), (second, 3), (third, 2)] {
            let kept = fill(at, 9);
            assert_eq!(kept.len(), expected);
            std::mem::forget(kept);
        }
    }

    #[test]
    fn a_client_on_this_machine_is_known_by_its_address() {
        for (client, server, is_one) in [
            ("127.0.0.1:40000", "127.0.0.1:10249", true),
            ("127.0.0.9:40000", "127.0.0.1:10249", true),
            ("[::1]:40000", "[::1]:10249", true),
            ("[::ffff:127.0.0.1]:40000", "[::ffff:127.0.0.1]:10249", true),
            ("192.0.2.1:40000", "192.0.2.1:10249", true),
            ("192.0.2.2:40000", "192.0.2.1:10249", false),
            ("[2001:db8::2]:40000", "[2001:db8::1]:10249", false),
        ] {
            let [client, server] = [client, server].map(|end| end.parse().unwrap());
            let ends = Ends { client, server };
            assert_eq!(ends.are_of_one_machine(), is_one, "{ends:?}");
        }
    }

    #[test]
    fn silence_is_bounded_by_seconds() {
        let Places { first, silence, .. } = Places::default();
        assert!(first <= Duration::from_secs(5) && silence <= Duration::from_secs(20));
    }
}
