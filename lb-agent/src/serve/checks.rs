//! The servers on the health check ports of Services. Owns which listen, and that one which cannot is told and tried again
//! while all others go on; what they answer is `probe`'s.

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
    sync::{mpsc, watch},
    task::JoinHandle,
    time::sleep,
};
use tracing::{debug, info, warn};

use crate::{
    model::ObjectKey,
    observe::{
        events::{About, Notice},
        health::Health,
        metrics::Metrics,
    },
    sync::HealthCheck,
};

use super::{
    connection::{self, Places},
    probe::{Answer, Facts},
};

/// Before a port that could not be had is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Connections that the kernel completes before they are taken in.
const BACKLOG: u32 = 128;

/// What is to listen, and what it tells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// By Service.
    pub checks: Arc<BTreeMap<ObjectKey, HealthCheck>>,
    /// Where.
    pub listen: Listen,
}

/// Addresses to listen on: those that node ports answer on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// Whatever the machine has.
    Everywhere,
    /// These; none while they are not known.
    On(Vec<IpAddr>),
}

impl Default for Listen {
    fn default() -> Self {
        Self::On(Vec::new())
    }
}

/// Who is told.
#[derive(Debug)]
pub struct Tell {
    /// Name of our Node.
    pub node: String,
    /// Events on Services.
    pub notices: mpsc::Sender<Notice>,
    /// How many listen, and how many cannot.
    pub metrics: Arc<Metrics>,
}

/// Follows what is wanted until nobody wants anything any more; the servers end with it.
pub async fn run(mut wanted: watch::Receiver<Wanted>, health: Arc<Health>, tell: Tell) {
    let mut servers = Servers {
        health,
        tell,
        places: Places::default(),
        running: BTreeMap::new(),
        failed: BTreeMap::new(),
    };
    wanted.mark_changed();
    loop {
        let retry = async {
            if servers.failed.is_empty() {
                std::future::pending::<()>().await;
            }
            sleep(RETRY).await;
        };
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = wanted.borrow_and_update().clone();
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
    tell: Tell,
    places: Places,
    running: BTreeMap<At, Server>,
    failed: BTreeMap<At, Failed>,
}

/// One that cannot listen.
#[derive(Clone, Debug)]
struct Failed {
    why: String,
    local_endpoints: u32,
    carried: bool,
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
    async fn follow(&mut self, wanted: &Wanted) {
        let desired = desired(wanted);
        // First, since a port may have moved from one Service to another.
        let gone: Vec<At> = self.running.keys().cloned().collect();
        for at in gone.iter().filter(|at| !desired.contains_key(at)) {
            if let Some(server) = self.running.remove(at) {
                debug!(service = %at.0, address = %at.1, "health check ended");
                server.close().await;
            }
        }
        self.failed.retain(|at, _| desired.contains_key(at));
        for (at, (local_endpoints, carried)) in desired {
            match self.running.get(&at) {
                Some(server) => server.facts.set(local_endpoints, carried),
                None => self.open(at, local_endpoints, carried),
            }
        }
        self.count();
    }

    /// Those that cannot listen, and no others.
    fn retry(&mut self) {
        for (at, failed) in self.failed.clone() {
            self.open(at, failed.local_endpoints, failed.carried);
        }
        self.count();
    }

    fn count(&self) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let metrics = &self.tell.metrics;
        metrics
            .health_check_listeners
            .set(count(self.running.len()));
        metrics.health_check_failures.set(count(self.failed.len()));
    }

    fn open(&mut self, at: At, local_endpoints: u32, carried: bool) {
        let listener = match listen(at.1) {
            Ok(listener) => listener,
            Err(error) => {
                let failed = Failed {
                    why: error.to_string(),
                    local_endpoints,
                    carried,
                };
                self.fail(at, failed);
                return;
            }
        };
        if self.failed.remove(&at).is_some() {
            info!(service = %at.0, address = %at.1, "health check listens at last");
        }
        debug!(service = %at.0, address = %at.1, "health check listens");
        let facts = Facts::new(at.0.clone(), Arc::clone(&self.health));
        facts.set(local_endpoints, carried);
        let (open, end) = watch::channel(());
        let answer = Answer(Arc::clone(&facts));
        let accepting = connection::serve(listener, answer, self.places.clone(), end);
        let server = Server {
            facts,
            accepting: tokio::spawn(accepting),
            _open: open,
        };
        self.running.insert(at, server);
    }

    /// Each failure is told once: in the log for every address, as an Event for every port.
    fn fail(&mut self, at: At, failed: Failed) {
        let why = &failed.why;
        if self.failed.get(&at).is_some_and(|known| known.why == *why) {
            self.failed.insert(at, failed);
            return;
        }
        let (service, address) = &at;
        warn!(%service, %address, error = why, "health check cannot listen, trying on: load balancers see this node as down");
        let same = |(other, elsewhere): &At| other == service && elsewhere.port() == address.port();
        if !self.failed.keys().any(same) {
            let text = format!(
                "node {} cannot listen for health checks of {service} on {address}: {why}; it is tried again",
                self.tell.node
            );
            let notice = Notice {
                about: About::Service(service.clone()),
                reason: "FailedToStartServiceHealthcheck",
                action: "Listen",
                text,
            };
            if self.tell.notices.try_send(notice).is_err() {
                debug!(%service, "too many Events at once: this one is only in the log");
            }
        }
        self.failed.insert(at, failed);
    }
}

/// What each server tells: local endpoints of its family, and whether the Service is carried.
fn desired(wanted: &Wanted) -> BTreeMap<At, (u32, bool)> {
    let mut all = BTreeMap::new();
    for (service, HealthCheck { facts, carried }) in &*wanted.checks {
        for (v6, count) in [false, true].into_iter().zip(facts.local_endpoints) {
            let Some(count) = count else { continue };
            for ip in wanted.listen.of_family(v6) {
                let at = (service.clone(), SocketAddr::new(ip, facts.port.get()));
                all.insert(at, (count, *carried));
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
#[path = "checks_tests.rs"]
mod tests;
