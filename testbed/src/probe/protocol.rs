//! What is said to the helper and what it answers, a line of JSON each.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::{Ask, Family, Kind, Observation};

/// One request; sockets and other things are named by the number that their making returned.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Socket {
        kind: Kind,
        family: Family,
    },
    Nonblocking {
        sock: u32,
    },
    BindDevice {
        sock: u32,
        device: String,
    },
    FillOptions {
        sock: u32,
    },
    FastOpenConnect {
        sock: u32,
    },
    Bind {
        sock: u32,
        addr: SocketAddr,
    },
    Connect {
        sock: u32,
        addr: SocketAddr,
    },
    Disconnect {
        sock: u32,
    },
    Writable {
        sock: u32,
    },
    Send {
        sock: u32,
        text: String,
    },
    SendTo {
        sock: u32,
        addr: SocketAddr,
        text: String,
    },
    SendFast {
        sock: u32,
        addr: SocketAddr,
        text: String,
    },
    Recv {
        sock: u32,
        within_ms: u64,
    },
    SendPacket {
        sock: u32,
        to: IpAddr,
        bytes: Vec<u8>,
    },
    TakePacket {
        sock: u32,
        within_ms: u64,
    },
    Peer {
        sock: u32,
    },
    Local {
        sock: u32,
    },
    Share {
        sock: u32,
    },
    EndShare {
        child: u32,
    },
    Close {
        sock: u32,
    },
    Listen {
        kind: Kind,
        addr: SocketAddr,
        name: String,
    },
    Unlisten {
        listener: u32,
    },
    Hammer {
        plan: HammerPlan,
    },
    HammerSoFar {
        hammer: u32,
    },
    HammerStop {
        hammer: u32,
    },
    Many(Many),
    Record,
    RecordStop {
        recorder: u32,
        to: Vec<IpAddr>,
    },
    Survey {
        asks: Vec<Ask>,
        threads: usize,
    },
}

/// A request that is about many connections.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Many {
    Listen {
        kind: Kind,
        addr: SocketAddr,
        name: String,
    },
    Crowd {
        plan: CrowdPlan,
    },
    CrowdSoFar {
        crowd: u32,
    },
    CrowdAsk {
        crowd: u32,
    },
    CrowdEnd {
        crowd: u32,
    },
    Flood {
        plan: FloodPlan,
    },
    FloodSent {
        flood: u32,
    },
    FloodEnd {
        flood: u32,
    },
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Done,
    Id(u32),
    Addr(SocketAddr),
    Received(Received),
    Packet(IpAddr, Vec<u8>),
    Tally(Tally),
    Count(u64),
    Frames(Vec<Frame>),
    Survey(Vec<Observation>),
    /// What the kernel said no with.
    Errno(i32),
    /// What went wrong besides.
    Broken(String),
}

/// A message and where it came from; a stream's sender is not said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Empty at the end of a stream.
    pub text: String,
    /// As `recvmsg` shows it.
    pub from: Option<SocketAddr>,
}

/// The answer of one of our echo servers, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The server's name.
    pub name: String,
    /// The client's address as the server saw it.
    pub client: SocketAddr,
    /// Where the client saw the answer come from (datagrams only).
    pub from: Option<SocketAddr>,
    /// What had been sent.
    pub text: String,
}

/// How to open connections in a loop.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HammerPlan {
    /// TCP: connect, ask, close. UDP: a fresh socket each time, connected or not.
    pub kind: Kind,
    /// Of UDP: `connect` first.
    pub connected: bool,
    /// Where to.
    pub to: SocketAddr,
    /// The names that may answer; another one counts as a failure. Empty allows all.
    pub allowed: Vec<String>,
}

/// What came of a loop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Attempts that have ended.
    pub attempts: u64,
    /// Good answers, by the name of the server.
    pub answers: BTreeMap<String, u64>,
    /// Failures, by what was said.
    pub failures: BTreeMap<String, u64>,
}

/// Many connections of one client to one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrowdPlan {
    /// TCP or UDP.
    pub kind: Kind,
    /// Where to.
    pub to: SocketAddr,
    /// How many.
    pub count: u32,
    /// How many are opened a second; 0: as many as it can.
    pub per_second: u32,
    /// How many are under way at a time.
    pub at_once: u32,
    /// The first source port and how many there are, used in turn; `None`: the kernel's choice.
    pub ports: Option<(u16, u16)>,
    /// What becomes of one that was answered.
    pub ending: Ending,
}

/// How a client leaves a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// It closes it.
    Close,
    /// It asks once more, as resolvers ask for A and AAAA, and closes it.
    AskAgain,
    /// It resets it, and may use its port again at once.
    Reset,
    /// It does not.
    Stay,
}

/// Forged connections of clients that there are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloodPlan {
    /// What is sent for each.
    pub forged: Forged,
    /// Where to.
    pub to: SocketAddr,
    /// How many a second.
    pub per_second: u32,
}

/// What a forged connection of TCP consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forged {
    /// A SYN.
    Syn,
    /// A SYN, then what would follow it if the server's sequence number were known: a wrong one.
    Handshake,
    /// The same, and a moment later once more on the same tuple with another sequence number: the
    /// server, which holds the first one half open, answers the second SYN with a bare ACK
    /// (RFC 5961).
    Twice,
}

/// One frame that a receiver saw, its checksums verified by the receiver alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Bytes, from the Ethernet header on.
    pub length: usize,
    /// Source address.
    pub from: IpAddr,
    /// Destination address.
    pub to: IpAddr,
    /// `tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, or a number.
    pub proto: String,
    /// Ports, 0 where there are none.
    pub ports: (u16, u16),
    /// Whether every sum that the frame carries is right; the words say which is not.
    pub sums: Result<(), String>,
}
