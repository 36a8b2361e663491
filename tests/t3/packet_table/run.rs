//! A row on one hook and in one family: each packet in, and all that differs from the row.

use std::fmt::Write as _;

use anyhow::Result;
use lb_common::Reason;
use testbed::probe::Family;

use crate::packet_table::{
    expect::Out,
    packet::{At, Body, History, Packet, Sum, frame, net_offset, problems, show},
    plan::{Device, Way},
    row::{Hook, Row, Step},
    scene::{ByXdp, Ran, Scene},
};

/// What differed, for people; empty if nothing did.
pub(crate) fn run(row: &Row, hook: Hook, family: Family, scene: &mut Scene) -> Result<String> {
    scene.state.clear()?;
    let mut history = History::default();
    let mut differs = String::new();
    let mut spoilt = false;
    for (n, step) in row.steps.iter().enumerate() {
        if let Some(change) = step.meanwhile {
            change(scene, family)?;
            spoilt = true;
        }
        for time in 0..step.times {
            let said = once(step, hook, family, scene, &mut history);
            let said = said.unwrap_or_else(|error| format!("    {error:#}\n"));
            if !said.is_empty() {
                let _ = write!(differs, "  packet {}, time {}\n{said}", n + 1, time + 1);
                break;
            }
        }
        if !differs.is_empty() {
            break;
        }
    }
    if spoilt {
        scene.agent.restore()?;
    }
    Ok(differs)
}

fn once(
    step: &Step,
    hook: Hook,
    family: Family,
    scene: &mut Scene,
    history: &mut History,
) -> Result<String> {
    let Step { packet, then, .. } = step;
    let device = match packet.at {
        At::Ingress(device) | At::Egress(device) => device,
        At::Tunnel if family == Family::V4 => Device::Tun4,
        At::Tunnel => Device::Tun6,
        At::Lb0 => Device::Lb0,
        At::Lb0Back => Device::Lb0Peer,
    };
    let sent = frame(packet, family, device, history)?;
    let ran = match scene.run(packet, hook, device, &sent) {
        Ok(ran) => ran,
        Err(error) => return Ok(format!("    {error:#}\n    in\n{}", show(&sent))),
    };
    let mut differs = Vec::new();
    if !then.is_anything() {
        compare(step, hook, family, history, &sent, &ran, &mut differs);
    }
    if let Some(place) = step.place {
        let found = scene.state.place()?;
        if found != place {
            differs.push(format!("flow records stand {found:?}, not {place:?}"));
        }
    }
    let bytes = |frame: &[u8]| frame.get(net_offset(frame)..).unwrap_or_default().to_vec();
    history.at.get_or_insert(packet.at);
    history.packets.push((bytes(&sent), bytes(&ran.frame)));
    if differs.is_empty() {
        return Ok(String::new());
    }
    Ok(format!(
        "    {}\n    counted {:?}\n    returned {}, {:?}\n    in\n{}    out\n{}",
        differs.join("\n    "),
        ran.counted,
        ran.verdict,
        ran.by_xdp,
        show(&sent),
        show(&ran.frame),
    ))
}

fn compare(
    step: &Step,
    hook: Hook,
    family: Family,
    history: &History,
    sent: &[u8],
    ran: &Ran,
    differs: &mut Vec<String>,
) {
    let Step { packet, then, .. } = step;
    let net = net_offset(sent);
    let before = &sent[net..];
    let after = ran.frame.get(net_offset(&ran.frame)..).unwrap_or_default();
    let (out, bytes) = match then.expected(packet, family, history, before, after) {
        Ok(expected) => expected,
        Err(why) => {
            differs.push(format!("expected {then:?}: {why}"));
            counters(step, None, hook, ran, differs);
            return;
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
    } else if out != Out::Dropped {
        if after != bytes {
            let mut whole = ran
                .frame
                .get(..net_offset(&ran.frame))
                .unwrap_or_default()
                .to_vec();
            whole.extend(&bytes);
            differs.push(format!("expected out\n{}", show(&whole).trim_end()));
        }
        let (wrong, was) = (problems(&ran.frame), problems(sent));
        if was.is_empty() {
            differs.extend(wrong);
        }
    }
    if hook == Hook::Xdp
        && let Some(way) = way
    {
        by_xdp(packet, way, ran, differs);
    }
    counters(step, way, hook, ran, differs);
}

/// Does XDP send the packet by itself this way? Its checksum must be finished, too.
fn carries(packet: &Packet, way: Way) -> bool {
    // Of SCTP alone 0 says that the sum is still to be made.
    let unfinished = packet.sum == Sum::Zero && matches!(packet.body, Body::Sctp { .. });
    way.hop.is_some() && way.xdp && !unfinished
}

fn by_xdp(packet: &Packet, way: Way, ran: &Ran, differs: &mut Vec<String>) {
    let At::Ingress(device) = packet.at else {
        return;
    };
    let error = matches!(packet.body, Body::Error(..));
    if error || !carries(packet, way) {
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

/// Exactly what the row says, and that XDP could not do it where it could not.
fn counters(step: &Step, way: Option<Way>, hook: Hook, ran: &Ran, differs: &mut Vec<String>) {
    let mut expected = step.counted.clone();
    if hook == Hook::Xdp
        && let Some(way) = way
        && way.hop.is_some()
        && !matches!(step.packet.body, Body::Error(..))
        && !carries(&step.packet, way)
        && !expected.contains(&Reason::XdpToTc)
    {
        expected.push(Reason::XdpToTc);
    }
    let mut got = ran.counted.clone();
    expected.sort_unstable();
    got.sort_unstable();
    if expected != got {
        differs.push(format!("expected counters {expected:?}, got {got:?}"));
    }
}
