//! The words between the benchmark and the one process that measures for it: a line of JSON each
//! way.

use std::net::SocketAddr;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use testbed::sandbox::Sandbox;

/// What is done in a block of calls, and timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// `connect()` of one UDP socket, again and again: mean, ns.
    UdpConnect,
    /// `connect()` and `send()` of a fresh UDP socket: p50, ns.
    FirstPacket,
    /// `sendto()` of one unconnected UDP socket: mean, ns.
    SendTo,
    /// `connect()` of a fresh TCP socket: p50 and p99, µs.
    TcpConnect,
    /// TCP connect, request, answer, close: mean, µs.
    Transaction,
    /// Request and answer on one TCP connection: mean, µs.
    Exchange,
}

/// One request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Remember where to; the answer to the first one is set 0, then 1, …
    Targets { targets: Vec<SocketAddr> },
    /// Measure.
    Measure {
        place: Where,
        set: usize,
        work: Work,
        calls: u32,
    },
    /// Send frames by this program, for the time it takes: a whole block of packets.
    Frames {
        place: Where,
        program: Program,
        times: u32,
    },
    /// Connect so many UDP sockets; reply with the backends that they reach.
    Picks {
        place: Where,
        target: SocketAddr,
        count: u32,
    },
    /// Open connections for this long; reply with their counts.
    Connect {
        place: Where,
        target: SocketAddr,
        millis: u64,
    },
    /// Connect again and again until this server answers; reply with the time.
    Await {
        place: Where,
        target: SocketAddr,
        wanted: SocketAddr,
    },
    /// Reply with the server behind each target.
    Reach {
        place: Where,
        targets: Vec<SocketAddr>,
    },
}

/// A program that makes frames, and what it makes them of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    /// Where it is pinned.
    pub(crate) pin: std::path::PathBuf,
    /// Bytes of a frame, without the sum of the wire.
    pub(crate) length: usize,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The set's number.
    Set(usize),
    /// What the work yields.
    Measured(Vec<f64>),
    /// By target.
    Reached(Vec<Reached>),
    /// By backend.
    Picked(Vec<(SocketAddr, u64)>),
    /// What came of the connections.
    Connected(Connects),
    /// Why not.
    Broken(String),
}

/// The server behind an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reached {
    /// The server's own address, as it reports it over TCP.
    pub(crate) tcp: SocketAddr,
    /// The peer of a connected UDP socket, by the kernel's list of sockets.
    pub(crate) udp: SocketAddr,
}

/// What came of connections opened for some time, and of one that was kept open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Connects {
    pub(crate) attempts: u64,
    pub(crate) failed: u64,
    /// SYNs that had to be sent again, of all sockets of the namespace.
    pub(crate) retried: u64,
    /// How often the one that was kept open broke.
    pub(crate) broken: u64,
}

/// Where sockets are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Where {
    pub(crate) netns: std::path::PathBuf,
    pub(crate) cgroup: std::path::PathBuf,
}

impl From<&Where> for Sandbox {
    fn from(place: &Where) -> Self {
        let Where { netns, cgroup } = place;
        Self {
            netns: Some(netns.clone()),
            cgroup: Some(cgroup.clone()),
            resolv_conf: None,
        }
    }
}

/// Seconds by the clock that all processes share and that only goes forward.
pub(crate) fn now() -> f64 {
    // The clock is there on every Linux.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(f64::NAN, |time| {
        std::time::Duration::from(time).as_secs_f64()
    })
}
