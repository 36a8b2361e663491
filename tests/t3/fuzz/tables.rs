//! The flow tables of the kernel beside the model's: whose each tuple is, and in which state.

use std::net::IpAddr;

use anyhow::Result;
use lb_agent::maps::table::HashTable as _;
use lb_common::flow::{Flow as Entry, FlowKey, direction, flags, seen, units};

use super::model::{
    Model,
    flow::{ANSWERED, FINISHED, Flow, OPEN, Owner, PROVABLE, RESET, SENT, Stands},
    frame::Proto,
};
use crate::packet_table::{packet::Tuple, plan::Device, scene::Scene};

/// Units of time that a time may be off: pauses shorter than a unit are not in the entries.
const OFF: u32 = 6;

/// What stands in the kernel's maps.
pub(super) struct Tables {
    entries: Vec<(Stands, FlowKey, Entry)>,
    foreign: Vec<FlowKey>,
}

impl Tables {
    pub(super) fn read(scene: &Scene) -> Result<Self> {
        let mut entries = Vec::new();
        let maps = [
            (Stands::Established, &scene.state.established),
            (Stands::New, &scene.state.new),
        ];
        for (stands, map) in maps {
            let all = map.entries()?;
            entries.extend(all.into_iter().map(|(key, entry)| (stands, key, entry)));
        }
        let foreign = scene.state.foreign.entries()?;
        Ok(Self {
            entries,
            foreign: foreign.into_iter().map(|(key, _)| key).collect(),
        })
    }

    /// What the client's packets of this tuple become.
    pub(super) fn forward(&self, proto: Proto, client: &Tuple) -> Option<Tuple> {
        let is = |(_, key, entry): &&(Stands, FlowKey, Entry)| {
            entry.direction == direction::FORWARD
                && key.proto == proto.number()
                && of_key(key) == *client
        };
        let (_, _, entry) = self.entries.iter().find(is)?;
        Some(becomes(entry))
    }

    /// All that differs from the model's.
    pub(super) fn differences(&self, model: &Model, scene: &Scene, now_ns: u64) -> Vec<String> {
        let mut differs = Vec::new();
        let mut known = 0;
        for flow in &model.flows {
            let forward = self.find(flow.proto, flow.stands, &flow.client);
            known += 1;
            match forward {
                None => differs.push(format!("no entry of the client of {flow:?}")),
                Some(entry) => forward_differs(flow, entry, scene, &mut differs),
            }
            if flow.displaced {
                continue;
            }
            known += 1;
            match self.find(flow.proto, flow.stands, &flow.answers()) {
                None => differs.push(format!("no reply entry of {flow:?}")),
                Some(entry) => {
                    reply_differs(flow, entry, scene, &mut differs);
                    if forward.is_some_and(|one| one.generation != entry.generation) {
                        differs.push(format!("two generations of {flow:?}"));
                    }
                    let age = (model.now - flow.last) >> 32;
                    let seen = units(now_ns).wrapping_sub(entry.seen);
                    if u64::from(seen).abs_diff(age) > OFF.into() {
                        differs.push(format!("seen {seen} units ago, not {age}: {flow:?}"));
                    }
                }
            }
        }
        if known != self.entries.len() {
            differs.push(format!(
                "{} entries stand, not {known}: {:?}",
                self.entries.len(),
                self.entries
            ));
        }
        self.foreign_differs(model, &mut differs);
        differs
    }

    fn foreign_differs(&self, model: &Model, differs: &mut Vec<String>) {
        for one in &model.foreign {
            let is = |key: &&FlowKey| key.proto == one.proto.number() && of_key(key) == one.answers;
            if !self.foreign.iter().any(|key| is(&key)) {
                differs.push(format!("not learnt: {one:?}"));
            }
        }
        if self.foreign.len() != model.foreign.len() {
            differs.push(format!(
                "{} connections are learnt, not {:?}",
                self.foreign.len(),
                model.foreign
            ));
        }
    }

    fn find(&self, proto: Proto, stands: Stands, tuple: &Tuple) -> Option<&Entry> {
        let is = |(at, key, _): &&(Stands, FlowKey, Entry)| {
            *at == stands && key.proto == proto.number() && of_key(key) == *tuple
        };
        self.entries.iter().find(is).map(|(_, _, entry)| entry)
    }
}

fn of_key(key: &FlowKey) -> Tuple {
    Tuple {
        src: IpAddr::from(key.src),
        dst: IpAddr::from(key.dst),
        sport: key.sport,
        dport: key.dport,
    }
}

fn becomes(entry: &Entry) -> Tuple {
    Tuple {
        src: IpAddr::from(entry.src),
        dst: IpAddr::from(entry.dst),
        sport: entry.sport,
        dport: entry.dport,
    }
}

fn kind(flow: &Flow) -> u8 {
    let mut bits = 0;
    if flow.local {
        bits |= flags::LOCAL;
    }
    if flow.lb0 {
        bits |= flags::LB0;
    }
    match flow.owner {
        Owner::Direct { of_node: true } => bits | flags::DIRECT | flags::STACK,
        Owner::Direct { of_node: false } => bits | flags::DIRECT,
        Owner::Service(_) => bits,
    }
}

fn device(device: Device, scene: &Scene) -> u32 {
    scene.index(device)
}

fn forward_differs(flow: &Flow, entry: &Entry, scene: &Scene, differs: &mut Vec<String>) {
    let said = (entry.direction, becomes(entry), entry.flags, entry.ifindex);
    let by = device(flow.verified_by, scene);
    let right = (direction::FORWARD, flow.sent, kind(flow), by);
    if said != right {
        differs.push(format!("the client's entry is {said:?}, not {right:?}"));
    }
}

fn reply_differs(flow: &Flow, entry: &Entry, scene: &Scene, differs: &mut Vec<String>) {
    let said = (entry.direction, becomes(entry), entry.flags, entry.ifindex);
    let by = device(flow.device, scene);
    let right = (direction::REPLY, flow.client.turned(), kind(flow), by);
    if said != right {
        differs.push(format!("the reply entry is {said:?}, not {right:?}"));
    }
    let said = (did(entry.client), did(entry.server));
    let right = (flow.by_client.bits, flow.by_server.bits);
    if said != right {
        differs.push(format!(
            "client and server have done {said:?}, not {right:?}: {:?} is said to be {:?}",
            flow.state(),
            entry.state(flow.proto.number())
        ));
    }
    if flow.by_server.has(PROVABLE) && entry.proof != flow.proof {
        differs.push(format!(
            "{:#x} is to be acknowledged, not {:#x}",
            entry.proof, flow.proof
        ));
    }
}

/// In the model's words.
fn did(bits: u8) -> u8 {
    let words = [
        (seen::PACKET, SENT),
        (seen::FIN, FINISHED),
        (seen::RST, RESET),
        (seen::DATA, OPEN),
        (seen::ANSWERED, ANSWERED),
        (seen::PROOF, PROVABLE),
    ];
    let set = words.iter().filter(|(bit, _)| bits & bit != 0);
    set.map(|(_, word)| word).sum()
}
