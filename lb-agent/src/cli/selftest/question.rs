//! What the processes of the test say to each other: one line of JSON each.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// How a client asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Protocol {
    Tcp,
    /// By a connected socket and by one that is not, in turns.
    Udp,
    /// ICMP's echo.
    Ping,
}

impl Protocol {
    /// As people write it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Ping => "ping",
        }
    }
}

/// One question of a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) protocol: Protocol,
    pub(super) to: SocketAddr,
    /// Counted from 0 within a check.
    pub(super) nth: usize,
    /// How long the answer may take.
    pub(super) patience_ms: u64,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// A backend answered: its name, and the client that it saw.
    Backend { name: String, saw: IpAddr },
    /// An echo came back.
    Echo,
    /// The connection was refused.
    Refused,
    /// Nothing came.
    Nothing,
    /// The kernel said something else.
    Failed(String),
}

/// What a [host](super::guest) is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Set up the device, which has been moved into its namespace.
    Join(Device),
    /// Answer by this name on the port, of TCP and UDP and all families that there are.
    Serve {
        name: String,
        port: u16,
        with_ipv6: bool,
    },
    /// Ask.
    Ask(Question),
}

/// How a device of a namespace is set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Device {
    pub(super) name: String,
    /// With the length of their networks' prefixes.
    pub(super) addresses: Vec<(IpAddr, u8)>,
    /// Of default routes.
    pub(super) gateways: Vec<IpAddr>,
}

/// What a host says to an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Done,
    Answer(Answer),
    /// It could not be done.
    Failed(String),
}
