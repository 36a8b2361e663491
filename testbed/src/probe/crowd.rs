//! Many connections of one client: opened at a rate, from source ports of its own choice, each asked
//! a question with words of its own, and closed, reset or held.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::{SockAddr, SockRef, Socket};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpStream, UdpSocket},
    runtime::Builder,
    sync::{
        Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{CrowdPlan, Ending, Family, Kind, Tally, socket};
use crate::poll::patient;

/// An answer that takes longer is lost: room for one SYN that is sent again.
const PATIENCE: Duration = Duration::from_millis(2500);
/// A source port may still be in use by an earlier connection; then the next one.
const BINDS: u32 = 256;

/// The connections, in a thread of their own; they end with this value.
pub(super) struct Crowd {
    tally: Arc<Mutex<Tally>>,
    orders: Option<UnboundedSender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Crowd {
    pub(super) fn start(plan: CrowdPlan) -> Self {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (orders, taken) = unbounded_channel();
        let shared = Arc::new(Shared {
            plan,
            next_port: AtomicU32::new(0),
            tally: Arc::clone(&tally),
        });
        let thread = thread::spawn(move || {
            if let Err(error) = live(&shared, taken) {
                shared.note(Err(error));
            }
        });
        Self {
            tally,
            orders: Some(orders),
            thread: Some(thread),
        }
    }

    pub(super) fn so_far(&self) -> Tally {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.clone()
    }

    /// Asks every connection that is held once more, with a tally of its own.
    pub(super) fn ask_again(&self) {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner) = Tally::default();
        if let Some(orders) = &self.orders {
            // Fails only if the thread has panicked, which it has printed.
            let _ = orders.send(());
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by its own thread.
            let _ = thread.join();
        }
    }
}

struct Shared {
    plan: CrowdPlan,
    next_port: AtomicU32,
    tally: Arc<Mutex<Tally>>,
}

impl Shared {
    fn note(&self, outcome: io::Result<String>) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.attempts += 1;
        let of = match outcome {
            Ok(name) => tally.answers.entry(name).or_default(),
            Err(error) => tally.failures.entry(error.to_string()).or_default(),
        };
        *of += 1;
    }
}

fn live(shared: &Arc<Shared>, mut orders: UnboundedReceiver<()>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut held = open_all(shared).await;
        let mut round = 1;
        while orders.recv().await.is_some() {
            held = ask_all(shared, held, round).await;
            round += 1;
        }
    });
    Ok(())
}

async fn open_all(shared: &Arc<Shared>) -> Vec<(u32, Connection)> {
    let CrowdPlan {
        count,
        per_second,
        at_once,
        ..
    } = shared.plan;
    let places = Arc::new(Semaphore::new(at_once as usize));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..count {
        if per_second > 0 {
            sleep_until(start + Duration::from_secs(1) * number / per_second).await;
        }
        // It is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            break;
        };
        let shared = Arc::clone(shared);
        tasks.spawn(async move {
            let made = one(&shared, number).await;
            drop(place);
            match made {
                Ok((name, connection)) => {
                    shared.note(Ok(name));
                    connection.map(|connection| (number, connection))
                }
                Err(error) => {
                    shared.note(Err(error));
                    None
                }
            }
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

async fn ask_all(
    shared: &Arc<Shared>,
    held: Vec<(u32, Connection)>,
    round: u32,
) -> Vec<(u32, Connection)> {
    let places = Arc::new(Semaphore::new(shared.plan.at_once as usize));
    let mut tasks = JoinSet::new();
    for (number, mut connection) in held {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            break;
        };
        let shared = Arc::clone(shared);
        tasks.spawn(async move {
            shared.note(connection.ask(number, round).await);
            drop(place);
            (number, connection)
        });
    }
    tasks.join_all().await
}

/// Opens one and asks it; the connection, if it is to stay.
async fn one(shared: &Shared, number: u32) -> io::Result<(String, Option<Connection>)> {
    let mut connection = open(shared).await?;
    let name = connection.ask(number, 0).await?;
    match shared.plan.ending {
        Ending::Stay => return Ok((name, Some(connection))),
        Ending::Reset => {
            if let Connection::Tcp(stream) = &connection {
                let sock = SockRef::from(stream.get_ref());
                sock.set_linger(Some(Duration::ZERO)).map_err(at("reset"))?;
            }
        }
        Ending::AskAgain => {
            connection.ask(number, 1).await?;
        }
        Ending::Close => {}
    }
    Ok((name, None))
}

async fn open(shared: &Shared) -> io::Result<Connection> {
    let mut last = io::Error::other("no source port is free");
    for _ in 0..BINDS {
        let made = match shared.plan.kind {
            Kind::Udp => udp(shared),
            _ => tcp(shared).await,
        };
        match made {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable
                ) && shared.plan.ports.is_some() =>
            {
                last = error;
            }
            other => return other,
        }
    }
    Err(at("bind")(last))
}

fn bound(shared: &Shared) -> io::Result<Socket> {
    let CrowdPlan {
        kind, to, ports, ..
    } = shared.plan;
    let socket = socket::open(kind, Family::of(&to))?;
    if let Some((first, count)) = ports {
        let turn = shared.next_port.fetch_add(1, Ordering::Relaxed) % u32::from(count);
        let port = u32::from(first) + turn;
        // Connections to other destinations share it.
        socket.set_reuse_address(true)?;
        let any: IpAddr = match Family::of(&to) {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let port = u16::try_from(port).map_err(io::Error::other)?;
        socket.bind(&SockAddr::from(SocketAddr::new(any, port)))?;
    }
    Ok(socket)
}

fn udp(shared: &Shared) -> io::Result<Connection> {
    let socket = bound(shared)?;
    socket.connect(&SockAddr::from(shared.plan.to))?;
    socket.set_nonblocking(true)?;
    Ok(Connection::Udp(UdpSocket::from_std(socket.into())?))
}

async fn tcp(shared: &Shared) -> io::Result<Connection> {
    let socket = bound(shared)?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::TcpSocket::from_std_stream(socket.into());
    let stream = in_time("connect", socket.connect(shared.plan.to)).await?;
    Ok(Connection::Tcp(BufReader::new(stream)))
}

enum Connection {
    Tcp(BufReader<TcpStream>),
    Udp(UdpSocket),
}

impl Connection {
    /// Who answers.
    async fn ask(&mut self, number: u32, round: u32) -> io::Result<String> {
        let asked = format!("crowd-{number}-{round}\n");
        let mut text = String::new();
        match self {
            Self::Tcp(stream) => {
                stream
                    .write_all(asked.as_bytes())
                    .await
                    .map_err(at("send"))?;
                in_time("recv", stream.read_line(&mut text)).await?;
            }
            Self::Udp(socket) => {
                socket.send(asked.as_bytes()).await.map_err(at("send"))?;
                in_time("recv", async {
                    let mut bytes = [0; 256];
                    // A port that is used again may hear late answers to others.
                    while !text.ends_with(&asked) {
                        let length = socket.recv(&mut bytes).await?;
                        text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                    }
                    Ok(())
                })
                .await?;
            }
        }
        match text.split_once(' ') {
            Some((name, rest)) if rest.ends_with(&asked) => Ok(name.to_owned()),
            _ => Err(io::Error::other(format!("asked {asked:?}, got {text:?}"))),
        }
    }
}

async fn in_time<T>(
    call: &'static str,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout(patient(PATIENCE), work)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("no answer")))
        .map_err(at(call))
}

/// Keeps the kind: by it a source port in use is known.
fn at(call: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{call}: {error}"))
}
