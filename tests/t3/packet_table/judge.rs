//! Whether what became of a packet is what the row expects of it, or its mark of today.

use anyhow::Result;
use lb_common::Reason;
use testbed::probe::Family;

use crate::packet_table::{
    expect::{Expected, Out, Then},
    packet::{At, Body, Extension, History, Packet, Sum, net_offset, problems, show},
    plan::Way,
    row::{Hook, Step},
    scene::{ByXdp, Ran},
    stage::Place,
    today::{Flaw, Today},
};

/// What is said of a packet.
pub(crate) struct Claim<'a> {
    then: Then,
    counted: &'a [Reason],
    place: Option<Place>,
    flaw: Option<Flaw>,
}

impl<'a> From<&'a Step> for Claim<'a> {
    fn from(step: &'a Step) -> Self {
        Self {
            then: step.then,
            counted: &step.counted,
            place: step.place,
            flaw: None,
        }
    }
}

impl<'a> From<&'a Today> for Claim<'a> {
    fn from(today: &'a Today) -> Self {
        Self {
            then: today.then,
            counted: &today.counted,
            place: today.place,
            flaw: today.flaw,
        }
    }
}

/// One run of one packet.
pub(crate) struct Seen<'a> {
    pub(crate) packet: &'a Packet,
    pub(crate) hook: Hook,
    pub(crate) family: Family,
    /// The packets of the row before it.
    pub(crate) history: &'a History,
    pub(crate) sent: &'a [u8],
    pub(crate) ran: &'a Ran,
    /// Where flow records stand after it.
    pub(crate) place: Place,
}

impl Seen<'_> {
    /// All that differs from what is said. An error says that the packet does not fit what is said
    /// of it, and nothing of the programs.
    pub(crate) fn differences(&self, claim: &Claim<'_>) -> Result<Vec<String>> {
        let mut differs = Vec::new();
        if !claim.then.is_anything() {
            self.compare(claim, &mut differs)?;
        }
        if let Some(place) = claim.place
            && self.place != place
        {
            differs.push(format!(
                "flow records stand {:?}, not {place:?}",
                self.place
            ));
        }
        Ok(differs)
    }

    fn compare(&self, claim: &Claim<'_>, differs: &mut Vec<String>) -> Result<()> {
        let Self {
            packet, sent, ran, ..
        } = *self;
        let before = &sent[net_offset(sent)..];
        let after = ran.frame.get(net_offset(&ran.frame)..).unwrap_or_default();
        let then = claim.then;
        let (out, mut bytes) =
            match then.expected(packet, self.family, self.history, before, after)? {
                Expected::Packet(out, bytes) => (out, bytes),
                Expected::Not(why) => {
                    differs.push(format!("expected {then:?}: {why}"));
                    self.counters(claim, None, differs);
                    return Ok(());
                }
            };
        let way = match out {
            Out::Sent(way) => way,
            _ => None,
        };
        let kind = |out: Out| match out {
            Out::Sent(_) => Out::Sent(None),
            out => out,
        };
        if kind(out) != kind(ran.out) {
            differs.push(format!("expected {out:?}, got {:?}", ran.out));
        } else if !matches!(out, Out::Dropped | Out::SumBroken) {
            if let Some(flaw) = claim.flaw
                && flaw.put(&mut bytes, before).is_none()
            {
                differs.push(format!("not {flaw:?}"));
            }
            if after != bytes {
                let mut whole = ran
                    .frame
                    .get(..net_offset(&ran.frame))
                    .unwrap_or_default()
                    .to_vec();
                whole.extend(&bytes);
                differs.push(format!("expected out\n{}", show(&whole).trim_end()));
            }
            // A flaw is compared to the byte, and is a problem.
            if claim.flaw.is_none() && problems(sent).is_empty() {
                differs.extend(problems(&ran.frame));
            }
        }
        if self.hook == Hook::Xdp
            && let Some(way) = way
        {
            self.by_xdp(way, differs);
        }
        self.counters(claim, way, differs);
        Ok(())
    }

    /// Does XDP leave the packet to tc, whatever its way?
    fn is_for_tc(&self) -> bool {
        let Packet {
            body,
            fragment,
            extensions,
            ..
        } = self.packet;
        matches!(body, Body::Error(..))
            || fragment.is_some()
            || extensions.contains(&Extension::Atomic)
    }

    /// Does XDP send the packet by itself this way? Its checksum must be finished, too.
    fn carries(&self, way: Way) -> bool {
        // Of SCTP alone 0 says that the sum is still to be made.
        let unfinished =
            self.packet.sum == Sum::Zero && matches!(self.packet.body, Body::Sctp { .. });
        way.hop.is_some() && way.xdp && !unfinished
    }

    fn by_xdp(&self, way: Way, differs: &mut Vec<String>) {
        let Self { packet, ran, .. } = *self;
        let At::Ingress(device) = packet.at else {
            return;
        };
        if self.is_for_tc() || !self.carries(way) {
            if ran.by_xdp != ByXdp::No {
                differs.push(format!("tc should carry it, not XDP: {:?}", ran.by_xdp));
            }
            return;
        }
        let expected = if way.device == device {
            ByXdp::Returned
        } else {
            ByXdp::Redirected
        };
        if ran.by_xdp != expected {
            differs.push(format!("XDP: expected {expected:?}, got {:?}", ran.by_xdp));
            return;
        }
        let hop = way.hop_mac().unwrap_or_default();
        let header = [hop, way.device.mac()].concat();
        if !ran.frame.starts_with(&header) {
            differs.push(format!(
                "XDP's frame does not go from {:02x?} to {hop:02x?}",
                way.device.mac()
            ));
        }
    }

    /// Exactly what is said, and that XDP could not do it where it could not.
    fn counters(&self, claim: &Claim<'_>, way: Option<Way>, differs: &mut Vec<String>) {
        let mut expected = claim.counted.to_vec();
        if self.hook == Hook::Xdp
            && let Some(way) = way
            && way.hop.is_some()
            && !self.is_for_tc()
            && !self.carries(way)
            && !expected.contains(&Reason::XdpToTc)
        {
            expected.push(Reason::XdpToTc);
        }
        let mut got = self.ran.counted.clone();
        expected.sort_unstable();
        got.sort_unstable();
        if expected != got {
            differs.push(format!("expected counters {expected:?}, got {got:?}"));
        }
    }

    /// The run, for people.
    pub(crate) fn show(&self) -> String {
        format!(
            "    counted {:?}\n    returned {}, {:?}\n    in\n{}    out\n{}",
            self.ran.counted,
            self.ran.verdict,
            self.ran.by_xdp,
            show(self.sent),
            show(&self.ran.frame),
        )
    }
}
