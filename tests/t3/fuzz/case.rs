//! A sequence of packets and pauses, as it was drawn and as it is made shorter.

use testbed::probe::Family;

use super::model::flow::Time;
use crate::packet_table::{packet::Packet, row::Hook};

/// One step of a sequence.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Step {
    Packet {
        packet: Box<Packet>,
        hook: Hook,
        /// The number of the step whose packet it answers.
        of: usize,
    },
    /// So much time passes.
    Elapse(Time),
    /// Taken away.
    Nothing,
}

/// Packets of one family, from a node that remembers nothing on.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Sequence {
    pub(crate) seed: u64,
    pub(crate) family: Family,
    pub(crate) steps: Vec<Step>,
}

impl Sequence {
    /// Each with one thing taken away or made plainer; whoever is answered keeps its number.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let with = |n: usize, step: Step| {
            let mut smaller = self.clone();
            smaller.steps[n] = step;
            smaller
        };
        let mut all = Vec::new();
        for (n, step) in self.steps.iter().enumerate() {
            if *step != Step::Nothing {
                all.push(with(n, Step::Nothing));
            }
        }
        for (n, step) in self.steps.iter().enumerate() {
            let Step::Packet { packet, hook, of } = step else {
                continue;
            };
            let mut plain = vec![(packet.clone(), Hook::Tc)];
            let mut plainer = |change: fn(&mut Packet)| {
                let mut packet = packet.clone();
                change(&mut packet);
                plain.push((packet, *hook));
            };
            plainer(|packet| packet.edits.clear());
            plainer(|packet| packet.extensions.clear());
            plainer(|packet| packet.options = 0);
            plainer(|packet| packet.cut = 0);
            plainer(|packet| packet.padding = 0);
            plainer(|packet| packet.payload = packet.payload.min(40));
            plainer(|packet| packet.fragment = None);
            plainer(|packet| packet.ttl = 64);
            for (packet, hook) in plain {
                let of = *of;
                let step = Step::Packet { packet, hook, of };
                if step != self.steps[n] {
                    all.push(with(n, step));
                }
            }
        }
        all
    }
}
