//! A sequence through the kernel's programs and through the model, packet by packet.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};
use testbed::probe::Family;

use super::{
    case::{Sequence, Step},
    compare,
    model::{Halt, Model, hooks},
    tables::Tables,
};
use crate::packet_table::{
    packet::{At, History, Packet, frame, net_offset, show},
    plan::Device,
    row::Hook,
    scene::Scene,
};

/// The model takes no time; the rules have nothing shorter than this, and what takes longer, on a
/// busy machine, is left at where it is.
const IN_TIME: Duration = Duration::from_millis(90);

/// Where a packet was seen, how it came and how it left, from the network header on.
type Seen = (At, Vec<u8>, Vec<u8>);

/// What came of a sequence.
#[derive(Default)]
pub(crate) struct Ran {
    /// Packets that were compared.
    pub(crate) packets: usize,
    /// It ended before its last step: the machine was busy.
    pub(crate) late: bool,
    /// Or something was nearly past its time, of which the rules do not say what becomes.
    pub(crate) unsaid: bool,
    /// How the last packet differs, for people.
    pub(crate) differs: Option<String>,
}

/// Runs it on a node that remembers nothing.
pub(crate) fn run(sequence: &Sequence, scene: &mut Scene) -> Result<Ran> {
    scene.state.clear()?;
    let (mut model, mut ran) = (Model::default(), Ran::default());
    let mut history: Vec<Option<Seen>> = Vec::new();
    let begun = Instant::now();
    for step in &sequence.steps {
        history.push(None);
        let (packet, hook, of) = match step {
            Step::Nothing => continue,
            Step::Elapse(time) => {
                model.elapse(*time);
                scene.state.elapse(*time)?;
                continue;
            }
            Step::Packet { packet, hook, of } => (packet, *hook, *of),
        };
        let before = history.get(of).cloned().flatten();
        let Some(sent) = made(packet, sequence.family, before)? else {
            continue;
        };
        let device = device(packet.at, sequence.family);
        let seen = scene
            .run(packet, hook, device, &sent)
            .with_context(|| format!("run it\n{}", show(&sent)))?;
        let tables = Tables::read(scene)?;
        let chosen = |proto, client: &_| tables.forward(proto, client);
        let at = hooks::At {
            frame: &sent,
            device,
            chosen: &chosen,
        };
        let outcome = match (packet.at, hook) {
            (At::Ingress(_), Hook::Xdp) => model.comes_in_by_xdp(&at),
            (At::Ingress(_) | At::Tunnel, _) => model.comes_in(&at),
            (At::Egress(_), _) => model.leaves(&at),
            (At::Lb0, _) => model.leaves_by_lb0(&at),
            (At::Lb0Back, _) => model.comes_back_to_lb0(&at),
        };
        if begun.elapsed() > IN_TIME {
            ran.late = true;
            return Ok(ran);
        }
        let differs = match outcome {
            Err(Halt::Unsaid) => {
                ran.unsaid = true;
                return Ok(ran);
            }
            Err(Halt::Wrong(why)) => vec![why, format!("the model has {model:?}")],
            Ok(outcome) => {
                let mut differs = compare::differences(&outcome, &seen, &sent, packet.at, device);
                differs.extend(tables.differences(&model, scene, now()?));
                if !differs.is_empty() {
                    differs.push(format!("the model says {outcome:?}"));
                }
                differs
            }
        };
        ran.packets += 1;
        if !differs.is_empty() {
            let mut said = String::new();
            for one in differs {
                writeln!(said, "    {one}")?;
            }
            writeln!(
                said,
                "    in\n{}    out\n{}",
                show(&sent),
                show(&seen.frame)
            )?;
            ran.differs = Some(said);
            return Ok(ran);
        }
        let ip = |frame: &[u8]| frame.get(net_offset(frame)..).unwrap_or_default().to_vec();
        if let Some(last) = history.last_mut() {
            *last = Some((packet.at, ip(&sent), ip(&seen.frame)));
        }
    }
    Ok(ran)
}

/// The frame of a step; `None` if it answers what has not been sent, or is too short to run.
fn made(packet: &Packet, family: Family, before: Option<Seen>) -> Result<Option<Vec<u8>>> {
    use crate::packet_table::packet::Ends;
    let mut history = History::default();
    match (packet.ends, before) {
        (Ends::Given(..), _) => {}
        (_, None) => return Ok(None),
        (_, Some((at, sent, left))) => {
            history.at = Some(at);
            history.packets.push((sent, left));
            if history.received().is_none() {
                return Ok(None);
            }
        }
    }
    let sent = frame(packet, family, device(packet.at, family), &history)?;
    // The kernel refuses to run programs of tc on what is shorter.
    let shortest = match sent.get(12..14) {
        Some([8, 0]) => 34,
        Some([0x86, 0xdd]) => 54,
        _ => 14,
    };
    Ok((sent.len() >= shortest).then_some(sent))
}

fn device(at: At, family: Family) -> Device {
    match at {
        At::Ingress(device) | At::Egress(device) => device,
        At::Tunnel if family == Family::V4 => Device::Tun4,
        At::Tunnel => Device::Tun6,
        At::Lb0 => Device::Lb0,
        At::Lb0Back => Device::Lb0Peer,
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds.
fn now() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(Duration::from(time).as_nanos().try_into()?)
}

/// The steps that matter, for people.
pub(crate) fn show_steps(sequence: &Sequence) -> String {
    let mut text = String::new();
    for (number, step) in sequence.steps.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = match step {
            Step::Nothing => Ok(()),
            Step::Elapse(time) => {
                let seconds = *time / 1_000_000;
                writeln!(text, "  {number}: {seconds} ms pass")
            }
            Step::Packet { packet, hook, of } => {
                writeln!(text, "  {number} (of {of}) by {hook:?}: {packet:?}")
            }
        };
    }
    text
}
