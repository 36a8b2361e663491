//! Asking many questions at once, each of them again and again: who answers, whom it saw, or how it
//! fails.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::socket::{setsockopt, sockopt},
};
use serde::{Deserialize, Serialize};
use socket2::{SockAddr, Socket};

use super::{Family, Kind, Received, socket};

/// The ports that a client binds to, in turn: the kernel's ephemeral ones.
const PORTS: std::ops::Range<u16> = 32800..61000;
/// And those that are used again and again, whatever is asked from them.
const FEW: std::ops::Range<u16> = 32768..32800;
/// A local port may be taken by another question of this moment; then the next one.
const BINDS: usize = 64;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// TCP: connect, ask, reset. UDP: one datagram.
    pub kind: Kind,
    /// Of UDP: `connect` first.
    pub connected: bool,
    /// Where to.
    pub to: SocketAddr,
    /// How often; the first failure ends it.
    pub tries: usize,
    /// What takes longer is silence.
    pub within_ms: u64,
    /// From one of a few ports that other questions have used a moment ago, and not from one that
    /// this destination has not seen for a long time.
    pub reused: bool,
}

/// What came of one try.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    /// An answer from where it was to come from.
    Answer {
        /// The server's name.
        name: String,
        /// The client's address as the server saw it.
        saw: IpAddr,
    },
    /// The kernel said no with this number.
    Errno(i32),
    /// Nothing in time.
    Silence,
    /// Anything else.
    Odd(String),
}

/// What was observed in all tries of one question.
pub type Observation = BTreeSet<Outcome>;

/// Asks all of them, so many at a time.
pub(super) fn run(asks: &[Ask], threads: usize) -> Vec<Observation> {
    let next = AtomicUsize::new(0);
    let observed = Mutex::new(vec![Observation::new(); asks.len()]);
    thread::scope(|scope| {
        for _ in 0..threads.min(asks.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(ask) = asks.get(index) else { return };
                    let found = one(ask);
                    let mut observed = observed.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(place) = observed.get_mut(index) {
                        *place = found;
                    }
                }
            });
        }
    });
    observed
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
}

fn one(ask: &Ask) -> Observation {
    let mut observed = Observation::new();
    for _ in 0..ask.tries {
        let outcome = attempt(ask).unwrap_or_else(|error| failure(&error));
        let failed = !matches!(outcome, Outcome::Answer { .. });
        observed.insert(outcome);
        if failed {
            break;
        }
    }
    observed
}

fn failure(error: &io::Error) -> Outcome {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock, _) => Outcome::Silence,
        (_, Some(number)) => Outcome::Errno(number),
        (_, None) => Outcome::Odd(error.to_string()),
    }
}

fn attempt(ask: &Ask) -> io::Result<Outcome> {
    let within = Duration::from_millis(ask.within_ms);
    let to = SockAddr::from(ask.to);
    let mut socket = bound(ask)?;
    let text = words();
    if ask.kind == Kind::Udp && !ask.connected {
        socket::send_to(&socket, ask.to, &text)?;
    } else {
        let mut binds = 0;
        // A backend behind two frontends may have seen this very port a moment ago.
        while let Err(error) = socket.connect_timeout(&to, within) {
            binds += 1;
            if error.raw_os_error() != Some(Errno::EADDRNOTAVAIL as i32) || binds == BINDS {
                return Err(error);
            }
            socket = bound(ask)?;
        }
        socket::send(&socket, &text)?;
    }
    let observed = answer(&socket, &text, within)?;
    if let Some(from) = observed.from
        && from != ask.to
    {
        return Ok(Outcome::Odd(format!("the answer comes from {from}")));
    }
    let mut words = observed.text.split_whitespace();
    let parsed = (|| {
        let (name, saw) = (words.next()?, words.next()?.parse::<SocketAddr>().ok()?);
        Some(Outcome::Answer {
            name: name.to_owned(),
            saw: saw.ip(),
        })
    })();
    Ok(parsed.unwrap_or_else(|| Outcome::Odd(format!("not an answer: {:?}", observed.text))))
}

/// No two questions of a client have the same.
fn words() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("survey-{}\n", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What answers this question; a port that is used again may hear late answers to others.
fn answer(socket: &Socket, text: &str, within: Duration) -> io::Result<Received> {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let received = socket::receive(socket, left)?;
        let is_late = received.text.contains(" survey-") && !received.text.ends_with(text);
        if !is_late {
            return Ok(received);
        }
    }
}

/// A socket on a local port that this destination has not seen for a long time: neither a conntrack
/// entry nor a flow of an earlier question may answer this one. Or on one of the few that have.
fn bound(ask: &Ask) -> io::Result<Socket> {
    let unspecified: IpAddr = match Family::of(&ask.to) {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut last = io::Error::other("no local port is free");
    for _ in 0..BINDS {
        let socket = socket::open(ask.kind, Family::of(&ask.to))?;
        if ask.kind == Kind::Tcp {
            socket.set_reuse_address(true)?;
            // Closed by a reset: nothing lingers on either side.
            socket.set_linger(Some(Duration::ZERO))?;
            if Family::of(&ask.to) == Family::V6 {
                // An ICMP error that comes before connect(2) has let go of the socket would wait
                // for the next SYN, a second later; IPv4's is remembered.
                setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
            }
        }
        match socket.bind(&SockAddr::from(SocketAddr::new(unspecified, port(ask)))) {
            Ok(()) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The next port towards this destination, or of the few.
fn port(ask: &Ask) -> u16 {
    static NEXT: OnceLock<Mutex<HashMap<(bool, SocketAddr), u16>>> = OnceLock::new();
    static TURN: AtomicU16 = AtomicU16::new(0);
    if ask.reused {
        let count = FEW.end - FEW.start;
        return FEW.start + TURN.fetch_add(1, Ordering::Relaxed) % count;
    }
    let next = NEXT.get_or_init(Mutex::default);
    let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
    // Started apart, so that questions of one moment do not try for the same ports.
    let start = PORTS.start + u16::try_from(next.len() * 61 % PORTS.len()).unwrap_or(0);
    let port = next.entry((ask.kind == Kind::Udp, ask.to)).or_insert(start);
    *port = if *port + 1 == PORTS.end {
        PORTS.start
    } else {
        *port + 1
    };
    *port
}
