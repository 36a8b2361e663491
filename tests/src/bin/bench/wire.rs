//! Owns the words between the benchmark and the one process that measures for it: a line of JSON each way.
//! Knows nothing of rows.

use std::net::SocketAddrV4;

use lb_tests::place::Place;
use serde::{Deserialize, Serialize};

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
    Targets { targets: Vec<SocketAddrV4> },
    /// Measure.
    Measure {
        place: Where,
        set: usize,
        work: Work,
        calls: u32,
    },
    /// Say who is reached.
    Reach {
        place: Where,
        targets: Vec<SocketAddrV4>,
    },
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
    /// Why not.
    Broken(String),
}

/// Who stands behind an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reached {
    /// What the server says of itself over TCP.
    pub(crate) tcp: SocketAddrV4,
    /// Where the kernel's own list of sockets says that a connected UDP socket sends.
    pub(crate) udp: SocketAddrV4,
}

/// Where sockets are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Where {
    pub(crate) netns: std::path::PathBuf,
    pub(crate) cgroup: std::path::PathBuf,
}

impl From<&Where> for Place {
    fn from(place: &Where) -> Self {
        let Where { netns, cgroup } = place;
        Self {
            netns: Some(netns.clone()),
            cgroup: Some(cgroup.clone()),
            resolv_conf: None,
        }
    }
}
