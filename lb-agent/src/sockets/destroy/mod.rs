//! Destroys connected sockets of UDP and TCP in whichever network namespace they are (SOCK_DESTROY),
//! so that their owners connect again; the kernel resets the other side of a TCP connection. The
//! caller decides which ones.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    ops::ControlFlow,
    thread,
};

use anyhow::{Context as _, Result};
use lb_common::{Addr, Proto, sock::SockRecord};
use nix::errno::Errno;
use prometheus_client::encoding::EncodeLabelValue;
use thiserror::Error;
use tokio::sync::oneshot;

mod diag;

use diag::{Connected, Diag, End};

use super::netns::{self, Closed, Processes};

/// A connected socket as its record in `lb_sk` names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Target {
    /// Cookie of its network namespace.
    pub netns: u64,
    /// Its own cookie.
    pub socket: u64,
    /// What it is connected to.
    pub backend: Addr,
    /// Host byte order.
    pub port: u16,
}

impl Target {
    /// Of a record.
    #[must_use]
    pub const fn of(record: &SockRecord) -> Self {
        Self {
            netns: record.netns,
            socket: record.cookie,
            backend: record.backend,
            port: record.backend_port,
        }
    }
}

/// Why a socket was not reset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, EncodeLabelValue, Error)]
#[expect(non_camel_case_types, reason = "the derive uses the name as the label")]
pub enum Failure {
    /// Neither `/run/netns` nor a process that this one may look at shows it.
    #[error(
        "its network namespace is not found in /run/netns, /run/docker/netns or /proc/*/ns/net"
    )]
    no_namespace,
    /// Another namespace may not be entered.
    #[error(
        "its network namespace may not be entered: needs CAP_SYS_ADMIN (socketReset: true in the chart)"
    )]
    not_permitted,
    /// The kernel was built without it.
    #[error(
        "the kernel cannot: needs CONFIG_INET_DIAG_DESTROY, CONFIG_INET_TCP_DIAG and CONFIG_INET_UDP_DIAG"
    )]
    not_supported,
    /// Anything else.
    #[error("for a reason that is in the log at level debug")]
    other,
}

impl Failure {
    /// All of them, for metrics that are there from the start.
    pub const ALL: [Self; 4] = [
        Self::no_namespace,
        Self::not_permitted,
        Self::not_supported,
        Self::other,
    ];

    fn of(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPERM | Errno::EACCES) => Self::not_permitted,
            Some(Errno::EOPNOTSUPP | Errno::ENOENT | Errno::EPROTONOSUPPORT) => Self::not_supported,
            _ => Self::other,
        }
    }
}

/// What came of an attempt.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Sockets that are no longer connected.
    pub reset: u64,
    /// Sockets that were gone, or connected to something else, when they were looked up.
    pub gone: u64,
    /// Sockets that were not reset.
    pub failed: BTreeMap<Failure, u64>,
}

impl Outcome {
    /// Sockets that still hold on to their backend.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.failed.values().sum()
    }

    fn fail(&mut self, failure: Failure, n: usize) {
        *self.failed.entry(failure).or_default() += n as u64;
    }
}

/// Whether sockets of other namespaces can be reset. The error says what is missing.
pub async fn probe() -> Result<(), Failure> {
    on_a_thread(|| netns::permitted().and_then(|()| Diag::open(Proto::Udp)?.supported()))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|error| Failure::of(&error))
}

/// Resets these sockets, all of one protocol.
pub async fn reset(proto: Proto, targets: Vec<Target>) -> Result<Outcome> {
    on_a_thread(move || run(proto, &targets)).await
}

/// Runs on a thread that ends with the work: a thread that has entered another network namespace
/// never does anything else.
pub(super) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (tx, rx) = oneshot::channel();
    thread::Builder::new()
        .name("lb-reset".to_owned())
        // The receiver is gone when the agent ends.
        .spawn(move || drop(tx.send(work())))
        .context("start a thread for resetting sockets")?;
    rx.await.context("the thread that resets sockets died")
}

fn run(proto: Proto, targets: &[Target]) -> Outcome {
    let mut by_netns: BTreeMap<u64, Vec<Target>> = BTreeMap::new();
    for target in targets {
        by_netns.entry(target.netns).or_default().push(*target);
    }
    let mut outcome = Outcome::default();
    // Of namespaces that a socket may be in which is in none of the others.
    let mut closed = BTreeSet::new();
    let walked = netns::visit(&mut Processes::default(), |_, entered| {
        match entered {
            Ok(cookie) => {
                if let Some(targets) = by_netns.remove(&cookie) {
                    here(proto, &targets, &mut outcome);
                }
            }
            Err(Closed { path, error }) => {
                tracing::debug!(%error, path = %path.display(), "cannot enter this network namespace");
                closed.insert(Failure::of(&error));
            }
        }
        if by_netns.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    if let Err(error) = walked {
        tracing::debug!(%error, "cannot list network namespaces");
        closed.insert(Failure::of(&error));
    }
    // What has a remedy is first.
    let failure = closed.first().copied().unwrap_or(Failure::no_namespace);
    for targets in by_netns.values() {
        outcome.fail(failure, targets.len());
    }
    outcome
}

/// Resets those of the calling thread's namespace.
fn here(proto: Proto, targets: &[Target], outcome: &mut Outcome) {
    let opened = Diag::open(proto).and_then(|mut diag| Ok((diag.connected()?, diag)));
    let (connected, mut diag) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::debug!(%error, %proto, "cannot list sockets");
            outcome.fail(Failure::of(&error), targets.len());
            return;
        }
    };
    let connected: HashMap<u64, Connected> = connected.into_iter().map(|s| (s.cookie, s)).collect();
    for target in targets {
        let found = connected.get(&target.socket);
        let ended = found
            .filter(|s| s.peer == target.backend && s.peer_port == target.port)
            .map_or(Ok(End::Gone), |sock| diag.destroy(sock));
        match ended {
            Ok(End::Destroyed) => outcome.reset += 1,
            Ok(End::Gone) => outcome.gone += 1,
            Err(error) => {
                tracing::debug!(%error, ?target, %proto, "cannot reset a socket");
                outcome.fail(Failure::of(&error), 1);
            }
        }
    }
}
