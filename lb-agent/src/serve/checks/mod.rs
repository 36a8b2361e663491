//! The servers on the health check ports of Services. One that cannot listen is retried while the
//! others keep running.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::Ipv6V6Only};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};
use tracing::debug;

use super::{
    connection::{self, Places, Shared},
    probe::{Answer, Facts, Status},
};
use crate::{model::ObjectKey, observe::health::Health, sync::HealthCheck};

mod report;

pub use report::{CheckMetrics, CheckReporter};

/// Pause before failed ports are retried.
const RETRY: Duration = Duration::from_secs(2);
/// Connections that the kernel completes before they are accepted.
const BACKLOG: u32 = 128;

/// What is to listen, and what it reports.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Desired {
    /// By Service.
    pub checks: Arc<BTreeMap<ObjectKey, HealthCheck>>,
    /// Where.
    pub listen: Listen,
}

/// Addresses to listen on: those that node ports answer on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// All addresses of the machine.
    Everywhere,
    /// These; none while they are not known.
    On(Vec<IpAddr>),
}

impl Default for Listen {
    fn default() -> Self {
        Self::On(Vec::new())
    }
}

/// Follows what is desired until the sender is dropped; the servers end with it.
pub async fn run(
    mut desired: watch::Receiver<Desired>,
    health: Arc<Health>,
    reporter: CheckReporter,
) {
    let mut servers = Servers {
        health,
        reporter,
        places: Shared::default(),
        running: BTreeMap::new(),
        failed: BTreeMap::new(),
    };
    desired.mark_changed();
    loop {
        let retry = async {
            if servers.failed.is_empty() {
                std::future::pending::<()>().await;
            }
            sleep(RETRY).await;
        };
        tokio::select! {
            changed = desired.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = desired.borrow_and_update().clone();
                servers.follow(&now).await;
            }
            () = retry => servers.retry(),
        }
    }
}

/// A Service and where it listens.
type At = (ObjectKey, SocketAddr);

/// All of them.
#[derive(Debug)]
struct Servers {
    health: Arc<Health>,
    reporter: CheckReporter,
    places: Shared,
    running: BTreeMap<At, Server>,
    failed: BTreeMap<At, Failed>,
}

/// One that cannot listen.
#[derive(Clone, Debug)]
struct Failed {
    error: String,
    status: Status,
}

/// One that listens.
#[derive(Debug)]
struct Server {
    facts: Arc<Facts>,
    accepting: JoinHandle<()>,
    /// Its connections end when it goes.
    _open: watch::Sender<()>,
}

impl Server {
    /// The port is free when this returns.
    async fn close(self) {
        self.accepting.abort();
        // An error is the abort itself.
        let _ = self.accepting.await;
    }
}

impl Servers {
    async fn follow(&mut self, desired: &Desired) {
        let desired = servers(desired);
        // Close first, since a port may have moved from one Service to another.
        let gone: Vec<At> = self.running.keys().cloned().collect();
        for at in gone.iter().filter(|at| !desired.contains_key(at)) {
            if let Some(server) = self.running.remove(at) {
                debug!(service = %at.0, address = %at.1, "health check ended");
                server.close().await;
            }
        }
        self.failed.retain(|at, _| desired.contains_key(at));
        for (at, status) in desired {
            match self.running.get(&at) {
                Some(server) => server.facts.set(status),
                None => self.open(at, status),
            }
        }
        self.report();
    }

    /// Tries to listen where it failed before.
    fn retry(&mut self) {
        for (at, failed) in self.failed.clone() {
            self.open(at, failed.status);
        }
        self.report();
    }

    fn report(&mut self) {
        let listen: Vec<At> = self.running.keys().cloned().collect();
        let failed = self.failed.iter();
        let failed: Vec<_> = failed
            .map(|(at, f)| (at.clone(), f.error.clone()))
            .collect();
        self.reporter.update(&listen, &failed);
    }

    fn open(&mut self, at: At, status: Status) {
        let listener = match listen(at.1) {
            Ok(listener) => listener,
            Err(error) => {
                let failed = Failed {
                    error: error.to_string(),
                    status,
                };
                self.failed.insert(at, failed);
                return;
            }
        };
        self.failed.remove(&at);
        debug!(service = %at.0, address = %at.1, "health check listens");
        let facts = Facts::new(at.0.clone(), Arc::clone(&self.health));
        facts.set(status);
        let (open, end) = watch::channel(());
        let answer = Answer(Arc::clone(&facts));
        let accepting = connection::serve(listener, answer, Places::one_of(&self.places), end);
        let server = Server {
            facts,
            accepting: tokio::spawn(accepting),
            _open: open,
        };
        self.running.insert(at, server);
    }
}

/// What each server reports.
fn servers(desired: &Desired) -> BTreeMap<At, Status> {
    let mut all = BTreeMap::new();
    for (service, HealthCheck { facts, programmed }) in &*desired.checks {
        for (v6, count) in [false, true].into_iter().zip(facts.local_endpoints) {
            let Some(local_endpoints) = count else {
                continue;
            };
            let status = Status {
                local_endpoints,
                programmed: *programmed,
            };
            for ip in desired.listen.of_family(v6) {
                let at = (service.clone(), SocketAddr::new(ip, facts.port.get()));
                all.insert(at, status);
            }
        }
    }
    all
}

impl Listen {
    fn of_family(&self, v6: bool) -> Vec<IpAddr> {
        match self {
            Self::Everywhere if v6 => vec![Ipv6Addr::UNSPECIFIED.into()],
            Self::Everywhere => vec![Ipv4Addr::UNSPECIFIED.into()],
            Self::On(ips) => ips
                .iter()
                .copied()
                .filter(|ip| ip.is_ipv6() == v6)
                .collect(),
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        let socket = TcpSocket::new_v6()?;
        // Each family has a server of its own, since each has a count of its own.
        setsockopt(&socket, Ipv6V6Only, &true)?;
        socket
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests;
