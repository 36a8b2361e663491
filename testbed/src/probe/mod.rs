//! The helper that runs inside a (namespace, cgroup): real sockets, driven from outside one request
//! at a time.

mod capture;
mod client;
mod crowd;
mod crowd_server;
mod echo;
mod flood;
mod hammer;
mod protocol;
mod serve;
mod sock;
mod socket;
mod survey;

use std::{fmt, io, net::SocketAddr};

use anyhow::Result;
use clap::{Parser, Subcommand};
pub use client::{Crowd, Flood, Hammer, Probe, Recorder};
pub use protocol::{
    Answer, CrowdPlan, Ending, FloodPlan, Forged, Frame, HammerPlan, Received, Tally,
};
use protocol::{Many, Reply, Request};
use serde::{Deserialize, Serialize};
pub use sock::{Share, Sock};
pub use survey::{Ask, Observation, Outcome};

use crate::sandbox::Sandbox;

/// Runs in a network namespace and a cgroup.
#[derive(Parser)]
#[command(name = "probe")]
struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Becomes another program there.
    Exec {
        #[command(flatten)]
        sandbox: Sandbox,
        /// The program and its arguments.
        #[arg(last = true)]
        words: Vec<String>,
    },
    /// Answers requests on standard input, a line each.
    Serve {
        #[command(flatten)]
        sandbox: Sandbox,
    },
    /// Holds the socket that is its standard input, until it is killed.
    Hold,
}

/// The helper's `main`: `args` as [`std::env::args`] gives them, the program's name first.
pub fn main(args: impl IntoIterator<Item = String>) -> Result<()> {
    match Options::parse_from(args).verb {
        Verb::Exec { sandbox, words } => sandbox.exec(&words),
        Verb::Serve { sandbox } => {
            sandbox.enter()?;
            serve::run()
        }
        Verb::Hold => {
            std::thread::park();
            Ok(())
        }
    }
}

/// What a socket is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `SOCK_STREAM`
    Tcp,
    /// `SOCK_DGRAM`
    Udp,
    /// `SOCK_STREAM` with `IPPROTO_MPTCP`
    Mptcp,
    /// `SOCK_DGRAM` with `IPPROTO_ICMP`
    Ping,
    /// `SOCK_STREAM` with `IPPROTO_SCTP`, where the kernel has it
    Sctp,
    /// `SOCK_RAW` with `IPPROTO_SCTP`: whole packets, on any kernel
    SctpPackets,
}

/// Which address family a socket has; an IPv6 one reaches IPv4 by mapped addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Family {
    /// `AF_INET`
    V4,
    /// `AF_INET6`
    V6,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Mptcp => "MPTCP",
            Self::Ping => "ping",
            Self::Sctp => "SCTP",
            Self::SctpPackets => "packets of SCTP",
        })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The error number of a system call of the helper; none if it succeeded.
pub fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

impl Family {
    /// The family that an address is written in.
    #[must_use]
    pub const fn of(addr: &SocketAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}
