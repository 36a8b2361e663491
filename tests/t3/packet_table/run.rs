//! A row on one hook and in one family: each packet in, and whether the row holds.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use testbed::probe::Family;

use crate::packet_table::{
    judge::Seen,
    packet::{At, History, frame, net_offset, show},
    plan::Device,
    row::{Hook, Mark, Row, Step},
    scene::Scene,
};

/// What the programs did with a row's packets. That the table itself could not run them is an
/// error beside it, and never what a mark expects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// What the row says.
    Right,
    /// What its mark says, and nothing else.
    AsToday,
    /// Neither; what differs, for people.
    Wrong(String),
}

/// Runs the row, and puts back what it has spoilt.
pub(crate) fn run(row: &Row, hook: Hook, family: Family, scene: &mut Scene) -> Result<Verdict> {
    scene.state.clear()?;
    let verdict = steps(row, hook, family, scene);
    if row.steps.iter().any(|step| step.meanwhile.is_some()) {
        scene.agent.restore()?;
    }
    verdict
}

fn steps(row: &Row, hook: Hook, family: Family, scene: &mut Scene) -> Result<Verdict> {
    let mut history = History::default();
    let mark = row.mark.as_ref();
    for (number, step) in (1..).zip(&row.steps) {
        if let Some(change) = step.meanwhile {
            change(scene, family)?;
        }
        let mark = mark.filter(|mark| mark.today.is_of(number, row.steps.len()));
        for time in 1..=step.times {
            let verdict = once(step, mark, hook, family, scene, &mut history)
                .with_context(|| format!("packet {number}, time {time}"))?;
            match verdict {
                Verdict::Right => {}
                Verdict::AsToday => return Ok(Verdict::AsToday),
                Verdict::Wrong(differs) => {
                    return Ok(Verdict::Wrong(format!(
                        "  packet {number}, time {time}\n{differs}"
                    )));
                }
            }
        }
    }
    Ok(Verdict::Right)
}

fn once(
    step: &Step,
    mark: Option<&Mark>,
    hook: Hook,
    family: Family,
    scene: &mut Scene,
    history: &mut History,
) -> Result<Verdict> {
    let packet = &step.packet;
    let device = match packet.at {
        At::Ingress(device) | At::Egress(device) => device,
        At::Tunnel if family == Family::V4 => Device::Tun4,
        At::Tunnel => Device::Tun6,
        At::Lb0 => Device::Lb0,
        At::Lb0Back => Device::Lb0Peer,
    };
    let sent = frame(packet, family, device, history)?;
    let ran = scene
        .run(packet, hook, device, &sent)
        .with_context(|| format!("run it\n{}", show(&sent)))?;
    let seen = Seen {
        packet,
        hook,
        family,
        history,
        sent: &sent,
        ran: &ran,
        place: scene.state.place()?,
    };
    let verdict = verdict(&seen, step, mark)?;
    let bytes = |frame: &[u8]| frame.get(net_offset(frame)..).unwrap_or_default().to_vec();
    history.at.get_or_insert(packet.at);
    history.packets.push((bytes(&sent), bytes(&ran.frame)));
    Ok(verdict)
}

fn verdict(seen: &Seen<'_>, step: &Step, mark: Option<&Mark>) -> Result<Verdict> {
    let differs = seen.differences(&step.into())?;
    if differs.is_empty() {
        return Ok(Verdict::Right);
    }
    let mut text = format!("    {}\n", differs.join("\n    "));
    if let Some(mark) = mark {
        let also = seen.differences(&(&mark.today).into())?;
        if also.is_empty() {
            return Ok(Verdict::AsToday);
        }
        writeln!(
            text,
            "    nor is it what the mark {} says ({}):\n    {}",
            mark.number,
            mark.said,
            also.join("\n    ")
        )?;
    }
    Ok(Verdict::Wrong(text + &seen.show()))
}
