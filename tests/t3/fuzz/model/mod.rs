//! The rules of the packet path once more, as `docs/datapath.md` and ADR 0021 say them: small and
//! slow, to be read and compared with. Shares no code with the programs.

mod client;
pub(crate) mod cluster;
mod direct;
pub(crate) mod flow;
pub(crate) mod frame;
pub(crate) mod hooks;
mod open;

use std::net::{IpAddr, Ipv4Addr};

use lb_common::Reason;

use self::{
    cluster::Pool,
    flow::{Flow, SECOND, Time},
    frame::{Packet, Part, Proto},
};
use crate::packet_table::{
    packet::{Answer, Tuple},
    plan::Device,
};

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It goes to the stack as it came.
    Passed,
    Dropped,
    /// Its ends become these.
    Rewritten(Tuple, Leaves),
    /// The node answers it, to where it came from; this address of IPv4 speaks in ICMP.
    Answered(Answer, Option<Ipv4Addr>),
}

/// How a rewritten packet leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leaves {
    /// To the stack, or on its way out.
    ToStack,
    /// To the stack, which fragments it.
    Diverted,
    /// To the stack, as if it came in on `lb0`.
    Handed,
    /// By tc, with a hop less to live.
    Forwarded,
    /// By another device than it was leaving by.
    Aside,
    /// By XDP, by this device, with a hop less.
    ByXdp(Device),
    /// To the stack, by XDP.
    MarkedByXdp,
}

/// Why the model says nothing of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Halt {
    /// It is nearly past its time.
    Unsaid,
    /// What the programs chose is none of what they may choose.
    Wrong(String),
}

pub(crate) type Said<T> = Result<T, Halt>;

/// What is decided about a packet, before a hook carries it out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Decision {
    Pass,
    /// Counted already.
    Drop,
    /// As a port without a listener refuses.
    Refuse(Reason),
    Expired,
    TooBig(u16),
    /// Its ends become these, and it goes on to the stack, or on its way out.
    Deliver(Tuple),
    /// The answer of a local backend: it leaves by this device if the client is reached by it.
    Reply(Tuple, Device),
    /// An answer that is handed to `lb0`.
    Hand(Tuple),
    /// It is sent.
    Send(Tuple, Way),
}

/// The way that a packet is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Way {
    device: Device,
    /// The next hop's hardware address is known.
    knows_hop: bool,
    /// It is larger than the way carries, and may be fragmented.
    is_narrow: bool,
    counts: Reason,
}

/// Where a packet meets the rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    NodeDevice,
    Lb0,
}

/// What a later fragment is known by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct First {
    proto: Proto,
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    ports: (u16, u16),
    to_stack: bool,
    at: Time,
}

/// A connection that is none of ours, by what answers it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Foreign {
    pub(crate) proto: Proto,
    pub(crate) answers: Tuple,
    last: Time,
}

/// The translation that the programs made for the client's packets of a tuple.
pub(crate) type Chosen<'a> = &'a dyn Fn(Proto, &Tuple) -> Option<Tuple>;

/// All that is remembered between packets.
#[derive(Clone, Default, Debug)]
pub(crate) struct Model {
    pub(crate) now: Time,
    pub(crate) flows: Vec<Flow>,
    pub(crate) foreign: Vec<Foreign>,
    firsts: Vec<First>,
    /// Backends (protocol, address, port) that an address of ours has sent to.
    peers: Vec<(Proto, IpAddr, u16, IpAddr)>,
    /// By client and pool: the backend, and when it was last asked for.
    affinity: Vec<(IpAddr, Pool, IpAddr, Time)>,
    /// What was chosen of several, which is a function of the tuple, or with affinity of the client.
    choices: Vec<(Pool, Proto, Tuple, IpAddr)>,
    /// Answers of our own so far, which a burst of 50 is allowed of.
    refusals: u32,
    counted: Vec<Reason>,
}

/// What the client's or the server's side of a flow is found by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Client,
    Server,
}

impl Model {
    pub(crate) fn elapse(&mut self, time: Time) {
        self.now += time;
    }

    fn count(&mut self, reason: Reason) {
        self.counted.push(reason);
    }

    fn drop_for(&mut self, reason: Reason) -> Decision {
        self.count(reason);
        Decision::Drop
    }

    /// The flow that a packet of this tuple belongs to, and which side sent it.
    fn find(&self, packet: &Packet) -> Option<(usize, Role)> {
        let of = |flow: &Flow| {
            if flow.proto != packet.proto {
                None
            } else if flow.client == packet.ends {
                Some(Role::Client)
            } else if !flow.displaced && flow.answers() == packet.ends {
                Some(Role::Server)
            } else {
                None
            }
        };
        let mut all = self.flows.iter().enumerate();
        all.find_map(|(n, flow)| Some((n, of(flow)?)))
    }

    /// A client is on this node or elsewhere, and not once here and once there.
    fn one_side(&self, n: usize, side: Side) -> Said<()> {
        if self.flows[n].lb0 == (side == Side::Lb0) {
            Ok(())
        } else {
            Err(Halt::Unsaid)
        }
    }

    /// A backend that is a client too, from the port that it serves on, is not what the rules are
    /// about.
    fn no_client_has(&self, proto: Proto, tuple: &Tuple) -> Said<()> {
        let has = |flow: &Flow| flow.proto == proto && flow.client == *tuple;
        if self.flows.iter().any(has) {
            Err(Halt::Unsaid)
        } else {
            Ok(())
        }
    }

    /// The flow whose server's packets have this tuple.
    fn owner_of(&self, proto: Proto, answers: &Tuple) -> Option<usize> {
        let is = |flow: &Flow| !flow.displaced && flow.proto == proto && flow.answers() == *answers;
        self.flows.iter().position(is)
    }

    /// Is it nobody's by now?
    fn is_past(&self, n: usize) -> Said<bool> {
        self.flows[n].is_past(self.now).ok_or(Halt::Unsaid)
    }

    /// The ports of a fragment: the first one says them.
    fn know_ports(&mut self, packet: &mut Packet) -> Said<Option<bool>> {
        let (src, dst) = (packet.ends.src, packet.ends.dst);
        match packet.part {
            Part::Whole => Ok(Some(false)),
            Part::First { id } => {
                let first = First {
                    proto: packet.proto,
                    src,
                    dst,
                    id,
                    ports: (packet.ends.sport, packet.ends.dport),
                    to_stack: false,
                    at: self.now,
                };
                self.firsts.retain(|old| !old.is_of(packet, id));
                self.firsts.push(first);
                Ok(Some(false))
            }
            Part::Later { id } => {
                let Some(first) = self.firsts.iter().find(|old| old.is_of(packet, id)) else {
                    return Ok(None);
                };
                let most = if packet.is_v4() { 30 } else { 60 } * SECOND;
                let age = self.now - first.at;
                if age >= most {
                    return if age > most + SECOND {
                        Ok(None)
                    } else {
                        Err(Halt::Unsaid)
                    };
                }
                (packet.ends.sport, packet.ends.dport) = first.ports;
                Ok(Some(first.to_stack))
            }
        }
    }

    /// The later fragments of this first one follow it into the stack.
    fn divert_later(&mut self, packet: &Packet) {
        if let Part::First { id } = packet.part {
            let first = self.firsts.iter_mut().find(|old| old.is_of(packet, id));
            if let Some(first) = first {
                first.to_stack = true;
            }
        }
    }
}

impl First {
    fn is_of(&self, packet: &Packet, id: u32) -> bool {
        let own = (self.proto, self.src, self.dst, self.id);
        own == (packet.proto, packet.ends.src, packet.ends.dst, id)
    }
}
