//! Connections that no Service has a say in, as far as their tuples matter.

use lb_common::Reason;

use super::{
    Chosen, Decision, Foreign, Halt, Model, Said,
    cluster::{is_backend, is_node_port},
    flow::{self, Owner},
    frame::{Packet, Proto},
};
use crate::packet_table::{
    packet::{ACK, RST, SYN, Tuple},
    plan::Device,
};

/// For how many seconds a direct connection is remembered: of TCP and SCTP the end is not seen.
const fn idle_time(proto: Proto) -> u64 {
    match proto {
        Proto::Udp => 120,
        Proto::Tcp | Proto::Sctp => 24 * 3600,
    }
}

impl Model {
    /// Has a connection that is none of ours this reply tuple?
    pub(super) fn is_foreign(&self, proto: Proto, answers: &Tuple) -> Said<bool> {
        let is = |one: &&Foreign| one.proto == proto && one.answers == *answers;
        let Some(one) = self.foreign.iter().find(is) else {
            return Ok(false);
        };
        let past = flow::is_past(self.now - one.last, idle_time(proto));
        Ok(!past.ok_or(Halt::Unsaid)?)
    }

    /// A packet of it has passed.
    fn learn(&mut self, proto: Proto, answers: Tuple) {
        let is = |one: &Foreign| one.proto == proto && one.answers == answers;
        self.foreign.retain(|one| !is(one));
        self.foreign.push(Foreign {
            proto,
            answers,
            last: self.now,
        });
    }

    /// A packet that comes in on a node device, and is not for a Service.
    pub(super) fn passes_in(
        &mut self,
        packet: &Packet,
        device: Device,
        chosen: Chosen<'_>,
    ) -> Said<Decision> {
        if opens(packet) && is_backend(packet.ends.dst) {
            return self.open_direct(packet, device, false, chosen);
        }
        Ok(Decision::Pass)
    }

    /// A packet that leaves by a node device, and answers no flow.
    pub(super) fn passes_out(
        &mut self,
        packet: &Packet,
        device: Device,
        chosen: Chosen<'_>,
    ) -> Said<Decision> {
        if opens(packet) && is_backend(packet.ends.dst) {
            return self.open_direct(packet, device, true, chosen);
        }
        if !packet.has(RST) && !packet.has(SYN | ACK) && is_node_port(packet.ends.sport) {
            self.learn(packet.proto, packet.ends.turned());
        }
        Ok(Decision::Pass)
    }

    fn open_direct(
        &mut self,
        packet: &Packet,
        device: Device,
        of_node: bool,
        chosen: Chosen<'_>,
    ) -> Said<Decision> {
        let answers = packet.ends.turned();
        if self.is_foreign(packet.proto, &answers)? {
            self.learn(packet.proto, answers);
            return Ok(Decision::Pass);
        }
        let Some(n) = self.owner_of(packet.proto, &answers) else {
            self.learn(packet.proto, answers);
            return Ok(Decision::Pass);
        };
        if self.flows[n].is_over() || self.is_past(n)? {
            self.flows.remove(n);
            self.learn(packet.proto, answers);
            return Ok(Decision::Pass);
        }
        // That is the flow itself, translated, on its way to a backend behind this device.
        if of_node && self.flows[n].local {
            return Ok(Decision::Pass);
        }
        let owner = Owner::Direct { of_node };
        let to = self.claim(packet, packet.ends, owner, !of_node, false, device, chosen)?;
        self.count(Reason::PktDirectMoved);
        Ok(Decision::Deliver(to))
    }
}

/// Of TCP and SCTP only what opens a connection is looked at.
fn opens(packet: &Packet) -> bool {
    packet.proto == Proto::Udp || packet.is_syn()
}
