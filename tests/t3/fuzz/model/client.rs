//! Packets of flows that have entries.

use lb_common::Reason;

use super::{
    Decision, Model, Said, Way,
    cluster::{MTU, Route, route},
    flow::{Owner, Stands},
    frame::{Packet, Proto},
};
use crate::packet_table::{packet::FIN, packet::SYN, packet::Tuple, plan::Device};

impl Model {
    /// Does this packet of the client's belong to the flow? If not, the flow is forgotten.
    pub(super) fn goes_on(&mut self, n: usize, packet: &Packet, device: Device) -> Said<bool> {
        let now = self.now;
        if self.flows[n].is_fast(packet, device, now) {
            return Ok(true);
        }
        if self.flows[n].displaced {
            let (proto, answers) = (self.flows[n].proto, self.flows[n].answers());
            self.no_client_has(proto, &answers)?;
            if self.owner_of(proto, &answers).is_some() {
                self.flows.remove(n);
                return Ok(false);
            }
            // No one has the tuple any more.
            let was_open = self.flows[n].stands == Stands::Established;
            let flow = &mut self.flows[n];
            flow.displaced = false;
            flow.began_with(packet, now);
            if was_open {
                flow.by_client.bits |= super::flow::OPEN;
            }
            flow.device = device;
            self.count(Reason::FlowRepaired);
        }
        let is_over = packet.is_syn() && self.flows[n].is_over();
        if self.is_past(n)? || is_over {
            self.flows.remove(n);
            return Ok(false);
        }
        let flow = &mut self.flows[n];
        flow.client_sent(packet, now);
        (flow.verified, flow.verified_by) = (Some(now), device);
        if flow.local || flow.lb0 {
            flow.device = device;
        }
        if flow.stands == Stands::New && flow.is_confirmed() && !packet.has(SYN) {
            flow.stands = Stands::Established;
            if packet.proto != Proto::Udp {
                self.remember(n);
            }
        }
        Ok(true)
    }

    /// A packet of the server's side of a flow that is not past.
    pub(super) fn answer(&mut self, n: usize, packet: &Packet) {
        let is_first = !self.flows[n].by_server.has(super::flow::SENT);
        self.flows[n].server_sent(packet, self.now);
        if packet.proto == Proto::Udp && is_first {
            self.remember(n);
        }
        // The client's next packet looks again.
        if packet.has(FIN) {
            self.flows[n].verified = None;
        }
    }

    /// Session affinity is remembered when a flow is confirmed.
    fn remember(&mut self, n: usize) {
        let flow = &self.flows[n];
        let Owner::Service(pool) = flow.owner else {
            return;
        };
        if pool.is_affine() {
            let (client, backend) = (flow.client.src, flow.sent.dst);
            self.affinity
                .retain(|(c, p, ..)| (*c, *p) != (client, pool));
            self.affinity.push((client, pool, backend, self.now));
        }
    }

    /// The way of a packet that goes on to another machine.
    pub(super) fn send(
        &mut self,
        packet: &Packet,
        to: Tuple,
        counts: Reason,
        to_stack: bool,
    ) -> Decision {
        if packet.ttl <= 1 {
            return Decision::Expired;
        }
        match route(to.dst) {
            Route::Own | Route::None => self.drop_for(Reason::PktNoRoute),
            Route::Out { device, hop, mtu } => {
                let len = if to_stack { usize::MAX } else { packet.len };
                let is_large = len > mtu.into();
                if is_large && !packet.may_fragment {
                    return Decision::TooBig(mtu);
                }
                let way = Way {
                    device,
                    knows_hop: hop.is_some() && !is_large,
                    is_narrow: is_large,
                    counts,
                };
                Decision::Send(to, way)
            }
            // Towards this node's own pods no program of ours stands where the stack's fragments
            // leave, so that none are made.
            Route::Inward if packet.len > MTU.into() || to_stack => Decision::TooBig(MTU),
            Route::Inward => {
                let way = Way {
                    device: Device::Lb0,
                    knows_hop: false,
                    is_narrow: false,
                    counts,
                };
                Decision::Send(to, way)
            }
        }
    }

    /// What the client's packets become.
    pub(super) fn goes_to_backend(
        &mut self,
        n: usize,
        packet: &Packet,
        to_stack: bool,
    ) -> Decision {
        let flow = &self.flows[n];
        let to = flow.sent;
        if flow.local {
            return Decision::Deliver(to);
        }
        self.send(packet, to, Reason::PktForwarded, to_stack)
    }

    /// What the packets of a backend elsewhere become.
    pub(super) fn goes_to_client(&mut self, n: usize, packet: &Packet, to_stack: bool) -> Decision {
        let flow = &self.flows[n];
        let to = flow.client.turned();
        if flow.owner == (Owner::Direct { of_node: true }) {
            return Decision::Deliver(to);
        }
        if flow.lb0 {
            return Decision::Hand(to);
        }
        self.send(packet, to, Reason::PktReply, to_stack)
    }
}
