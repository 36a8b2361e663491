//! The programs by where they stand: what a frame meets there, and how what is decided is carried
//! out.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::Reason;

use super::{
    Chosen, Decision, Fate, Halt, Leaves, Model, Role, Said, Side,
    cluster::{Front, Route, Scope, front, is_vip, route},
    frame::{self, Frame, Packet, Part, Proto},
    open::is_martian,
};
use crate::packet_table::{
    packet::{Answer, RST, Tuple},
    plan::{Device, ICMP_SOURCE_V4},
};

/// So many answers of its own a node gives at once.
const BURST: u32 = 50;
/// Ports that nothing but rewritten sources use.
const OWN_PORTS: std::ops::RangeInclusive<u16> = 61_000..=65_535;

/// A frame at a hook.
pub(crate) struct At<'a> {
    pub(crate) frame: &'a [u8],
    pub(crate) device: Device,
    pub(crate) chosen: Chosen<'a>,
}

/// What becomes of a frame, and what is counted.
pub(crate) type Outcome = (Fate, Vec<Reason>);

impl Model {
    /// It comes in on a node device, by tc.
    pub(crate) fn comes_in(&mut self, at: &At<'_>) -> Said<Outcome> {
        let fate = self.tc_in(at);
        self.outcome(fate)
    }

    /// It comes in on a node device with XDP, and tc behind it.
    pub(crate) fn comes_in_by_xdp(&mut self, at: &At<'_>) -> Said<Outcome> {
        let fate = match self.xdp_in(at) {
            Ok(Some(fate)) => Ok(fate),
            Ok(None) => self.tc_in(at),
            Err(halt) => Err(halt),
        };
        self.outcome(fate)
    }

    /// It leaves by a node device.
    pub(crate) fn leaves(&mut self, at: &At<'_>) -> Said<Outcome> {
        let fate = self.tc_out(at);
        self.outcome(fate)
    }

    /// A client of this node sends it to a Service's address.
    pub(crate) fn leaves_by_lb0(&mut self, at: &At<'_>) -> Said<Outcome> {
        let fate = self.lb0_out(at);
        self.outcome(fate)
    }

    /// A backend of this node answers such a client.
    pub(crate) fn comes_back_to_lb0(&mut self, at: &At<'_>) -> Said<Outcome> {
        let fate = self.lb0_in(at);
        self.outcome(fate)
    }

    fn outcome(&mut self, fate: Said<Fate>) -> Said<Outcome> {
        Ok((fate?, std::mem::take(&mut self.counted)))
    }

    fn tc_in(&mut self, at: &At<'_>) -> Said<Fate> {
        let read = frame::read(at.frame, at.device.mac());
        let (packet, to_stack) = match read {
            Frame::Later(mut packet) => match self.know_ports(&mut packet)? {
                Some(to_stack) => (packet, to_stack),
                None if is_vip(packet.ends.dst) => {
                    self.count(Reason::PktFragmentLost);
                    return Ok(Fate::Dropped);
                }
                None => return Ok(self.pass(Some(Reason::PktFragment))),
            },
            Frame::Packet(mut packet) => {
                self.know_ports(&mut packet)?;
                (packet, false)
            }
            other => return Ok(self.pass(reason(&other))),
        };
        let decision = self.came_in(&packet, at, to_stack)?;
        self.carry(decision, &packet, at.device, Side::NodeDevice)
    }

    fn tc_out(&mut self, at: &At<'_>) -> Said<Fate> {
        let packet = match frame::read(at.frame, at.device.mac()) {
            Frame::Packet(mut packet) | Frame::Later(mut packet) => {
                if self.know_ports(&mut packet)?.is_none() {
                    return Ok(self.pass(Some(Reason::PktFragment)));
                }
                packet
            }
            other => return Ok(self.pass(reason(&other))),
        };
        let decision = self.went_out(&packet, at)?;
        self.carry(decision, &packet, at.device, Side::NodeDevice)
    }

    /// XDP carries out what it can do whole; `None` leaves the frame to tc.
    fn xdp_in(&mut self, at: &At<'_>) -> Said<Option<Fate>> {
        let Frame::Packet(packet) = frame::read(at.frame, at.device.mac()) else {
            return Ok(None);
        };
        if packet.part != Part::Whole || has_fragment_header(at.frame) {
            return Ok(None);
        }
        let sends = |device| matches!(device, Device::Eth0 | Device::Eth1);
        match self.came_in(&packet, at, false)? {
            Decision::Drop => Ok(Some(Fate::Dropped)),
            Decision::Deliver(_) if packet.is_unfinished => {
                self.count(Reason::XdpToTc);
                Ok(None)
            }
            Decision::Deliver(to) => {
                self.count(Reason::PktLocal);
                Ok(Some(Fate::Rewritten(to, Leaves::MarkedByXdp)))
            }
            Decision::Send(to, way) if way.knows_hop => {
                if packet.is_unfinished || !sends(way.device) {
                    self.count(Reason::XdpToTc);
                    return Ok(None);
                }
                self.count(way.counts);
                Ok(Some(Fate::Rewritten(to, Leaves::ByXdp(way.device))))
            }
            _ => Ok(None),
        }
    }

    fn lb0_out(&mut self, at: &At<'_>) -> Said<Fate> {
        let (packet, to_stack) = match self.read_on_lb0(at)? {
            Ok(read) => read,
            Err(fate) => return Ok(fate),
        };
        let found = self.find(&packet);
        if let Some((n, Role::Client)) = found {
            self.one_side(n, Side::Lb0)?;
        }
        let decision = match found {
            Some((n, Role::Client)) if self.goes_on(n, &packet, at.device)? => {
                self.goes_to_backend(n, &packet, to_stack)
            }
            _ => match front(packet.ends.dst, packet.ends.dport, Scope::Inside) {
                Front::Service(pool) => {
                    let side = Side::Lb0;
                    self.open(pool, &packet, at.device, side, to_stack, at.chosen)?
                }
                Front::UnknownPort | Front::None if is_vip(packet.ends.dst) => {
                    Decision::Refuse(Reason::PktUnknownPort)
                }
                Front::UnknownPort | Front::None => self.drop_for(Reason::PktUnallocated),
            },
        };
        self.carry(decision, &packet, at.device, Side::Lb0)
    }

    fn lb0_in(&mut self, at: &At<'_>) -> Said<Fate> {
        let (packet, _) = match self.read_on_lb0(at)? {
            Ok(read) => read,
            Err(fate) => return Ok(fate),
        };
        let decision = match self.find(&packet) {
            Some((n, Role::Server))
                if self.flows[n].local && self.flows[n].lb0 && !self.is_past(n)? =>
            {
                self.answer(n, &packet);
                Decision::Reply(self.flows[n].client.turned(), self.flows[n].device)
            }
            _ => self.drop_for(Reason::PktNoFlow),
        };
        self.carry(decision, &packet, at.device, Side::Lb0)
    }

    /// On `lb0` nothing passes that cannot be read.
    fn read_on_lb0(&mut self, at: &At<'_>) -> Said<Result<(Packet, bool), Fate>> {
        let dropped = match frame::read(at.frame, at.device.mac()) {
            Frame::Packet(mut packet) => {
                self.know_ports(&mut packet)?;
                return Ok(Ok((packet, false)));
            }
            Frame::Later(mut packet) => match self.know_ports(&mut packet)? {
                Some(to_stack) => return Ok(Ok((packet, to_stack))),
                None if is_vip(packet.ends.dst) => Reason::PktFragmentLost,
                None => Reason::PktVipUnread,
            },
            Frame::OddPart => Reason::PktVipUnread,
            // The sequences have no others there.
            Frame::Foreign | Frame::Broken | Frame::Icmp => return Err(Halt::Unsaid),
        };
        self.count(dropped);
        Ok(Err(Fate::Dropped))
    }

    fn came_in(&mut self, packet: &Packet, at: &At<'_>, to_stack: bool) -> Said<Decision> {
        let found = self.find(packet);
        if let Some((n, Role::Client)) = found {
            self.one_side(n, Side::NodeDevice)?;
        }
        match found {
            // Answers of local backends do not come in here.
            Some((n, Role::Server)) if self.flows[n].local => {
                return self.passes_in(packet, at.device, at.chosen);
            }
            Some((n, Role::Server)) if !self.is_past(n)? => {
                self.answer(n, packet);
                return Ok(self.goes_to_client(n, packet, to_stack));
            }
            Some((n, Role::Client)) if self.goes_on(n, packet, at.device)? => {
                return Ok(self.goes_to_backend(n, packet, to_stack));
            }
            _ => {}
        }
        match front(packet.ends.dst, packet.ends.dport, Scope::Outside) {
            Front::Service(pool) => {
                let side = Side::NodeDevice;
                self.open(pool, packet, at.device, side, to_stack, at.chosen)
            }
            Front::UnknownPort if is_martian(packet, at.device) => {
                Ok(self.drop_for(Reason::PktMartian))
            }
            Front::UnknownPort => Ok(Decision::Refuse(Reason::PktUnknownPort)),
            // A late answer of a backend, to a port that is no one's any more.
            Front::None if self.is_stray(packet) => Ok(self.drop_for(Reason::PktNoFlow)),
            Front::None => self.passes_in(packet, at.device, at.chosen),
        }
    }

    fn is_stray(&self, packet: &Packet) -> bool {
        let Tuple {
            src, dst, sport, ..
        } = packet.ends;
        OWN_PORTS.contains(&packet.ends.dport)
            && self.peers.contains(&(packet.proto, src, sport, dst))
    }

    fn went_out(&mut self, packet: &Packet, at: &At<'_>) -> Said<Decision> {
        use super::flow::Owner;
        match self.find(packet) {
            Some((n, Role::Client))
                if self.flows[n].owner == (Owner::Direct { of_node: true })
                    && self.goes_on(n, packet, at.device)? =>
            {
                return Ok(Decision::Deliver(self.flows[n].sent));
            }
            Some((n, Role::Server)) if self.flows[n].local && !self.is_past(n)? => {
                self.answer(n, packet);
                let flow = &self.flows[n];
                return Ok(Decision::Reply(flow.client.turned(), flow.device));
            }
            _ => {}
        }
        self.passes_out(packet, at.device, at.chosen)
    }

    fn pass(&mut self, reason: Option<Reason>) -> Fate {
        self.counted.extend(reason);
        Fate::Passed
    }

    /// As tc carries it out.
    fn carry(
        &mut self,
        decision: Decision,
        packet: &Packet,
        device: Device,
        side: Side,
    ) -> Said<Fate> {
        let (to, leaves, reason) = match decision {
            Decision::Pass if side == Side::Lb0 => return Ok(Fate::Dropped),
            Decision::Pass => return Ok(Fate::Passed),
            Decision::Drop => return Ok(Fate::Dropped),
            Decision::Refuse(reason) => {
                self.count(reason);
                if packet.has(RST) {
                    return Ok(Fate::Dropped);
                }
                return self.answer_with(Answer::Refusal, packet, side);
            }
            Decision::Expired => {
                self.count(Reason::PktTtlExpired);
                return self.answer_with(Answer::TimeExceeded, packet, side);
            }
            Decision::TooBig(mtu) => {
                self.count(Reason::PktTooBig);
                return self.answer_with(Answer::TooBig(mtu), packet, side);
            }
            Decision::Deliver(to) => (to, Leaves::ToStack, Reason::PktLocal),
            Decision::Hand(to) => (to, Leaves::Handed, Reason::PktReply),
            Decision::Reply(to, out) => {
                // As large as the kernel lets a device forward, with room for a tag; it does not
                // ask where the next hop is unknown.
                let leads = match route(to.dst) {
                    Route::Out { device, mtu, hop } => {
                        let fits = packet.frame <= 14 + usize::from(mtu) + 4;
                        device == out && (fits || hop.is_none())
                    }
                    _ => false,
                };
                let aside = side == Side::NodeDevice && out != device && leads;
                let leaves = if aside {
                    Leaves::Aside
                } else {
                    Leaves::ToStack
                };
                (to, leaves, Reason::PktReply)
            }
            Decision::Send(to, way) if way.is_narrow && side == Side::NodeDevice => {
                self.divert_later(packet);
                (to, Leaves::Diverted, way.counts)
            }
            Decision::Send(to, way) if way.is_narrow => {
                self.count(Reason::PktTooBig);
                let Route::Out { mtu, .. } = route(to.dst) else {
                    return Err(Halt::Unsaid);
                };
                return self.answer_with(Answer::TooBig(mtu), packet, side);
            }
            Decision::Send(to, way) => (to, Leaves::Forwarded, way.counts),
        };
        // How the ports change SCTP's sum depends on all fragments.
        let keeps_port = leaves == Leaves::Diverted || to.sport == packet.ends.sport;
        let keeps = keeps_port && to.dport == packet.ends.dport;
        if packet.proto == Proto::Sctp && matches!(packet.part, Part::First { .. }) && !keeps {
            self.count(Reason::PktWriteFailed);
            return Ok(Fate::Dropped);
        }
        self.count(reason);
        Ok(Fate::Rewritten(to, leaves))
    }

    /// The node answers, as often as it may.
    fn answer_with(&mut self, answer: Answer, packet: &Packet, side: Side) -> Said<Fate> {
        if packet.is_later() {
            return Ok(Fate::Dropped);
        }
        if packet.is_unfinished {
            return Err(Halt::Unsaid);
        }
        if self.refusals == BURST {
            self.count(Reason::PktRefusalLimited);
            return Ok(Fate::Dropped);
        }
        self.refusals += 1;
        let shortest = if packet.is_v4() { 20 } else { 40 };
        let is_reset = answer == Answer::Refusal && packet.proto == Proto::Tcp;
        let is_part = matches!(packet.part, Part::First { .. }) && !packet.is_v4();
        // Nothing that needs an answer has options.
        let plain = packet.header == shortest || is_part && !is_reset && packet.header == 48;
        if !plain {
            return Ok(Fate::Dropped);
        }
        Ok(Fate::Answered(answer, speaker(packet, side)))
    }
}

/// An address of the load balancer's is not routed to `lb0`: another one speaks for it there.
fn speaker(packet: &Packet, side: Side) -> Option<Ipv4Addr> {
    match packet.ends.dst {
        IpAddr::V4(ip) if side == Side::Lb0 && ip.octets()[..2] == [198, 19] => {
            Some(ICMP_SOURCE_V4)
        }
        _ => None,
    }
}

/// What is counted of a frame that passes unread.
fn reason(frame: &Frame) -> Option<Reason> {
    match frame {
        Frame::Broken => Some(Reason::PktMalformed),
        Frame::OddPart => Some(Reason::PktFragment),
        _ => None,
    }
}

fn has_fragment_header(frame: &[u8]) -> bool {
    // IPv6: next header 44, perhaps behind others, which are as long as eight bytes here.
    frame.get(12..14) == Some(&[0x86, 0xdd])
        && frame.get(20).is_some_and(|next| {
            let (mut next, mut at) = (*next, 54);
            while matches!(next, 0 | 43 | 60) {
                let Some([following, eights]) = frame.get(at..at + 2) else {
                    return false;
                };
                next = *following;
                at += (usize::from(*eights) + 1) * 8;
            }
            next == 44
        })
}
