//! New flows: admitted, given a backend and a source port.

use std::net::IpAddr;

use lb_common::Reason;
use testbed::addr::LB0;

use super::{
    Chosen, Decision, Halt, Model, Said, Side,
    cluster::{
        self, AFFINITY_SECS, Front, MTU, Named, Pool, Route, Scope, is_cluster_ip, is_impossible,
        is_pod, route,
    },
    flow::{Did, Flow, Owner, SECOND, Stands},
    frame::{Packet, Proto},
};
use crate::packet_table::{
    packet::{ACK, RST, SYN, Tuple},
    plan::{Backend, Device},
};

/// The ports of rewritten sources, as long as no others are written.
const PORTS: std::ops::RangeInclusive<u16> = 61_000..=65_535;

/// Where a new flow's packets go.
enum To {
    /// To a backend on this node.
    Here,
    /// To another machine.
    Away(Device),
}

impl Model {
    /// A packet for a Service that belongs to no flow.
    pub(super) fn open(
        &mut self,
        outer: Pool,
        packet: &Packet,
        device: Device,
        side: Side,
        to_stack: bool,
        chosen: Chosen<'_>,
    ) -> Said<Decision> {
        let pool = match side {
            Side::NodeDevice => seen_from(outer, packet, device),
            Side::Lb0 => outer,
        };
        if let Some(decision) = self.refuse(pool, packet, device, side)? {
            return Ok(decision);
        }
        let backends = pool.backends();
        let Some((first, named)) = backends.first().copied() else {
            if pool.has_others() {
                return Ok(self.drop_for(Reason::PktNoLocalEndpoint));
            }
            return Ok(Decision::Refuse(Reason::PktNoEndpoint));
        };
        self.use_affinity(pool, packet)?;
        // An endpoint that is a Service's address is none.
        let v4 = packet.is_v4();
        let address = first.addr.ips()[usize::from(!v4)];
        if cluster::front(address, 8080, Scope::Inside) != Front::None {
            return Ok(Decision::Refuse(Reason::PktNoEndpoint));
        }
        // Several backends of one Service are reached alike.
        let away = match self.way(address, named, packet, device) {
            Ok(To::Here) => None,
            Ok(To::Away(device)) => Some(device),
            Err(decision) => return Ok(decision),
        };
        let src = match (away, side) {
            (Some(device), _) => cluster::source(device, v4),
            (None, Side::Lb0) => LB0.ips()[usize::from(!v4)],
            (None, Side::NodeDevice) => packet.ends.src,
        };
        let draft = Tuple {
            src,
            dst: self.choose(pool, &backends, packet, chosen)?,
            dport: 8080,
            ..packet.ends
        };
        if away.is_some() {
            // Nothing is recorded of what does not go.
            let sent = self.send(packet, draft, Reason::PktForwarded, to_stack);
            if !matches!(sent, Decision::Send(..)) {
                return Ok(sent);
            }
        }
        let (owner, local) = (Owner::Service(pool), away.is_none());
        let to = self.claim(
            packet,
            draft,
            owner,
            local,
            side == Side::Lb0,
            device,
            chosen,
        )?;
        if local {
            return Ok(Decision::Deliver(to));
        }
        Ok(self.send(packet, to, Reason::PktForwarded, to_stack))
    }

    /// What becomes of a packet that may not open a flow.
    fn refuse(
        &mut self,
        pool: Pool,
        packet: &Packet,
        device: Device,
        side: Side,
    ) -> Said<Option<Decision>> {
        if side == Side::NodeDevice {
            if !packet.is_syn() {
                let answers = packet.has(SYN | ACK) && !packet.has(RST);
                if answers || self.is_foreign(packet.proto, &packet.ends)? {
                    return Ok(Some(Decision::Pass));
                }
            }
            if is_martian(packet, device) {
                return Ok(Some(self.drop_for(Reason::PktMartian)));
            }
        }
        if !pool.admits(packet.ends.src) {
            return Ok(Some(self.drop_for(Reason::PktSourceDenied)));
        }
        let resets = packet.has(RST).then(|| self.drop_for(Reason::PktNoFlow));
        Ok(resets)
    }

    /// Where the route leads: an endpoint may name a node that it does not run on.
    fn way(
        &mut self,
        address: IpAddr,
        named: Named,
        packet: &Packet,
        device: Device,
    ) -> Result<To, Decision> {
        let route = route(address);
        let is_large = packet.len > MTU.into() && !packet.may_fragment;
        match (named, route) {
            // What a pod of a bridge answers another one there would pass us by.
            (Named::Here, Route::Out { device: out, .. })
                if out == device || out != Device::Br0 =>
            {
                Ok(To::Away(out))
            }
            (Named::Here, _) | (_, Route::Own) => Ok(To::Here),
            (_, Route::Inward) if !is_large => Ok(To::Here),
            (_, Route::Out { device, .. }) => Ok(To::Away(device)),
            _ if packet.ttl <= 1 => Err(Decision::Expired),
            (_, Route::Inward) => Err(Decision::TooBig(MTU)),
            (_, Route::None) => Err(self.drop_for(Reason::PktNoRoute)),
        }
    }

    /// A client's record is used, and lasts on.
    fn use_affinity(&mut self, pool: Pool, packet: &Packet) -> Said<()> {
        let (client, now) = (packet.ends.src, self.now);
        let most = AFFINITY_SECS * SECOND;
        for (of, for_pool, _, last) in &mut self.affinity {
            if (*of, *for_pool) != (client, pool) {
                continue;
            }
            let age = now - *last;
            if age < most - SECOND / 5 {
                *last = now;
            } else if age <= most {
                return Err(Halt::Unsaid);
            }
        }
        Ok(())
    }

    /// One of the backends: by affinity, else by a hash, which is the same each time.
    fn choose(
        &mut self,
        pool: Pool,
        backends: &[(Backend, Named)],
        packet: &Packet,
        chosen: Chosen<'_>,
    ) -> Said<IpAddr> {
        let v4 = packet.is_v4();
        let addresses: Vec<IpAddr> = backends
            .iter()
            .map(|(backend, _)| backend.addr.ips()[usize::from(!v4)])
            .collect();
        if let [only] = addresses[..] {
            return Ok(only);
        }
        let client = packet.ends.src;
        let is_fresh = |at| self.now - at < AFFINITY_SECS * SECOND;
        let mut records = self.affinity.iter();
        let record = records
            .find(|(of, for_pool, _, at)| (*of, *for_pool) == (client, pool) && is_fresh(*at));
        if let Some((_, _, backend, _)) = record {
            return Ok(*backend);
        }
        let by = if pool.is_affine() {
            Tuple {
                dst: client,
                sport: 0,
                dport: 0,
                ..packet.ends
            }
        } else {
            packet.ends
        };
        let mut known = self.choices.iter();
        let known = known.find(|(p, proto, t, _)| (*p, *proto, *t) == (pool, packet.proto, by));
        if let Some((.., backend)) = known {
            return Ok(*backend);
        }
        let Some(to) = chosen(packet.proto, &packet.ends) else {
            // It does not go, so that no one knows.
            return Ok(addresses[0]);
        };
        if !addresses.contains(&to.dst) {
            return Err(Halt::Wrong(format!("{} is none of {addresses:?}", to.dst)));
        }
        self.choices.push((pool, packet.proto, by, to.dst));
        Ok(to.dst)
    }

    /// Makes the flow whose packets become `draft`, but for the source port: the client's own if no
    /// one has its reply tuple (and no Service's flow had it before), else any that is free.
    #[expect(clippy::too_many_arguments, reason = "all that a flow is made of")]
    pub(super) fn claim(
        &mut self,
        packet: &Packet,
        draft: Tuple,
        owner: Owner,
        local: bool,
        lb0: bool,
        device: Device,
        chosen: Chosen<'_>,
    ) -> Said<Tuple> {
        let proto = packet.proto;
        let Some(made) = chosen(proto, &packet.ends) else {
            return Err(Halt::Wrong("no entry was made for the client".to_owned()));
        };
        let own = packet.ends.sport;
        let is_service = matches!(owner, Owner::Service(_));
        let sport = if is_service && self.is_free(proto, &draft)? {
            own
        } else {
            made.sport
        };
        let to = Tuple { sport, ..draft };
        let free = self.is_free(proto, &to)?;
        if sport != own && !PORTS.contains(&sport) || !free {
            return Err(Halt::Wrong(format!(
                "source port {sport}, which is not free"
            )));
        }
        // A flow that was past loses its reply tuple: to answers, or to a client's packets.
        for taken in [to.turned(), packet.ends] {
            if let Some(past) = self.owner_of(proto, &taken) {
                if self.flows[past].stands == Stands::Established && taken == packet.ends {
                    return Err(Halt::Unsaid);
                }
                self.flows[past].displaced = true;
            }
        }
        if !local {
            let peer = (proto, to.dst, to.dport, to.src);
            if !self.peers.contains(&peer) {
                self.peers.push(peer);
            }
        }
        if local && is_service && sport != own {
            self.count(Reason::PktPortRewritten);
        }
        let mut flow = Flow {
            proto,
            owner,
            client: packet.ends,
            sent: to,
            displaced: false,
            local,
            lb0,
            stands: Stands::New,
            device,
            verified_by: device,
            verified: Some(self.now),
            by_client: Did::default(),
            by_server: Did::default(),
            proof: 0,
            began: self.now,
            last: self.now,
        };
        flow.began_with(packet, self.now);
        self.flows.push(flow);
        Ok(to)
    }

    /// Has no one the reply tuple of packets that leave so?
    fn is_free(&self, proto: Proto, to: &Tuple) -> Said<bool> {
        let answers = to.turned();
        self.no_client_has(proto, &answers)?;
        if let Some(n) = self.owner_of(proto, &answers)
            && !self.is_past(n)?
        {
            return Ok(false);
        }
        Ok(!self.is_foreign(proto, &answers)?)
    }
}

/// Under `externalTrafficPolicy: Local` a pod is inside, wherever its packet comes in.
fn seen_from(pool: Pool, packet: &Packet, device: Device) -> Pool {
    if !pool.local_only || !(is_pod(packet.ends.src) || device == Device::Br0) {
        return pool;
    }
    match cluster::front(packet.ends.dst, packet.ends.dport, Scope::Inside) {
        Front::Service(inner) => inner,
        Front::None | Front::UnknownPort => pool,
    }
}

/// Would the stack take no packet of this source from this device?
pub(super) fn is_martian(packet: &Packet, device: Device) -> bool {
    let src = packet.ends.src;
    if is_impossible(src, packet.ends.dst) || is_cluster_ip(src) {
        return true;
    }
    // rp_filter is strict on these; there is none in IPv6.
    let is_strict = matches!(device, Device::Eth0 | Device::Eth1 | Device::Eth2);
    match route(src) {
        Route::Own | Route::None => true,
        Route::Out { device: back, .. } => packet.is_v4() && is_strict && back != device,
        Route::Inward => packet.is_v4() && is_strict,
    }
}
