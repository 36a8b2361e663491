//! What came of a frame beside what the model says of it: where it went, every byte, the sums, and
//! what was counted.

use lb_common::Reason;

use super::model::{
    Fate, Leaves,
    cluster::{Route, route},
    hooks::Outcome,
};
use crate::packet_table::{
    expect::Out,
    packet::{At, Change, Tuple, answered, net_offset, problems, rewrite, show, tuple},
    plan::{Device, Way},
    scene::{ByXdp, Ran},
};

/// All that differs.
pub(super) fn differences(
    outcome: &Outcome,
    ran: &Ran,
    sent: &[u8],
    at: At,
    device: Device,
) -> Vec<String> {
    let (fate, counted) = outcome;
    let mut differs = Vec::new();
    counters(counted, &ran.counted, &mut differs);
    let before = sent.get(net_offset(sent)..).unwrap_or_default();
    let after = ran.frame.get(net_offset(&ran.frame)..).unwrap_or_default();
    let handed = matches!(at, At::Lb0);
    let (out, by_xdp, bytes) = match *fate {
        Fate::Passed => (Out::Stack, ByXdp::No, Some(before.to_vec())),
        Fate::Dropped => (Out::Dropped, ByXdp::No, None),
        Fate::Answered(answer, speaker) => {
            let out = if handed { Out::Handed } else { Out::Sent(None) };
            // Of what it cut into its own answer the kernel no longer knows the card's sum.
            if ran.out == Out::SumBroken {
                return differs;
            }
            let bytes = answered(answer, before, speaker, after);
            if bytes.is_none() {
                differs.push(format!("nothing can answer it: {answer:?}"));
            }
            (out, ByXdp::No, bytes)
        }
        Fate::Rewritten(to, leaves) => rewritten(to, leaves, before, device, &mut differs),
    };
    let kind = |out| match out {
        Out::Sent(_) => Out::Sent(None),
        out => out,
    };
    if kind(out) != kind(ran.out) || by_xdp != ran.by_xdp {
        let said = (ran.out, ran.by_xdp);
        differs.push(format!("it went {said:?}, not {:?}", (out, by_xdp)));
        return differs;
    }
    let Some(bytes) = bytes else {
        return differs;
    };
    if bytes != after {
        let link = ran.frame.get(..net_offset(&ran.frame));
        let whole = [link.unwrap_or_default(), &bytes].concat();
        differs.push(format!("it did not leave as\n{}", show(&whole).trim_end()));
    }
    if *fate != Fate::Passed && problems(sent).is_empty() {
        differs.extend(problems(&ran.frame));
    }
    if let Fate::Rewritten(to, Leaves::ByXdp(out)) = *fate {
        hardware_addresses(to, out, ran, &mut differs);
    }
    differs
}

fn counters(right: &[Reason], said: &[Reason], differs: &mut Vec<String>) {
    let sorted = |reasons: &[Reason]| {
        let mut reasons = reasons.to_vec();
        reasons.sort_unstable();
        reasons
    };
    let (right, said) = (sorted(right), sorted(said));
    if right != said {
        differs.push(format!("counted {said:?}, not {right:?}"));
    }
}

type Left = (Out, ByXdp, Option<Vec<u8>>);

fn rewritten(
    to: Tuple,
    leaves: Leaves,
    before: &[u8],
    device: Device,
    differs: &mut Vec<String>,
) -> Left {
    let (out, by_xdp) = match leaves {
        Leaves::ToStack | Leaves::Diverted => (Out::Stack, ByXdp::No),
        Leaves::MarkedByXdp => (Out::Stack, ByXdp::Passed),
        Leaves::Handed => (Out::Handed, ByXdp::No),
        Leaves::Forwarded | Leaves::Aside => (Out::Sent(None), ByXdp::No),
        Leaves::ByXdp(out) if out == device => (Out::Sent(None), ByXdp::Returned),
        Leaves::ByXdp(_) => (Out::Sent(None), ByXdp::Redirected),
    };
    let hops = u8::from(matches!(leaves, Leaves::Forwarded | Leaves::ByXdp(_)));
    let tuple = match (leaves, tuple(before)) {
        // The source is rewritten where it leaves.
        (Leaves::Diverted, Some(own)) => Tuple {
            src: own.src,
            sport: own.sport,
            ..to
        },
        _ => to,
    };
    let bytes = rewrite(before, &Change { tuple, hops });
    if bytes.is_none() {
        differs.push("it cannot be rewritten, says the table".to_owned());
    }
    (out, by_xdp, bytes)
}

/// A frame that XDP sends goes to the next hop from the device that it leaves by.
fn hardware_addresses(to: Tuple, out: Device, ran: &Ran, differs: &mut Vec<String>) {
    let Route::Out { hop, .. } = route(to.dst) else {
        return;
    };
    let way = Way {
        device: out,
        hop,
        xdp: true,
    };
    let header = [way.hop_mac().unwrap_or_default(), out.mac()].concat();
    if !ran.frame.starts_with(&header) {
        differs.push(format!("XDP's frame does not begin with {header:02x?}"));
    }
}
