//! Tracers that come, go, die, and meet each other.

use anyhow::{Context as _, Result, ensure};
use lb_common::{reason::REASONS, trace::Decision};
use nix::sys::signal::Signal;
use testbed::{
    agent::{self, CHANGE, Start},
    one_node::{NODE_PORT, OneNode, PORT, WEB_VIP},
    poll,
    probe::{Family, Kind, errno},
};

use super::{EMPTY_VIP, Trace, is_for, stage};

/// A run that the end of a session has cut short leaves its mark behind: another session does not
/// mind.
#[test]
fn what_another_session_has_left_behind_does_not_count() -> Result<()> {
    let bed = stage(Start::new())?;
    let outside = bed.lan.client(1)?;
    let to = bed.node.addr().at(Family::V4, NODE_PORT);
    let vip = WEB_VIP.at(Family::V4, PORT);
    let shown = |name: &str| -> Result<Trace> {
        let trace = Trace::start(&bed.node, name, &["--limit", "0"])?;
        outside.ask(Kind::Tcp, to)?;
        bed.client().ask(Kind::Tcp, vip)?;
        for (hook, to) in [("tc_ingress", to), ("connect", vip)] {
            trace.until(hook, |d| is_for(d, to) && d["hook"] == hook)?;
        }
        Ok(trace)
    };
    let mut first = shown("first")?;
    first.0.signal(Signal::SIGTERM)?;
    first.0.wait(CHANGE)?;
    leave_runs_behind(&bed)?;
    shown("second")?;
    Ok(())
}

/// Words of an element of `lb_tr_runs`: the first is the session and what runs, the last are the
/// counters and the record.
const RUN: usize = 18 + REASONS as usize + size_of::<Decision>() / 8;

/// As if the switch had gone off while a program of packets and one of sockets ran on each CPU.
fn leave_runs_behind(bed: &OneNode) -> Result<()> {
    let pin = lb_sys::open_pin(&bed.node.bpf_dir().join("maps/lb_tr_runs"))?;
    let runs: lb_sys::PerCpuArray<[u64; RUN]> = lb_sys::PerCpuArray::new(pin)?;
    let packets = runs.get(0)?;
    let session = packets.iter().map(|run| run[0] & u64::from(u32::MAX)).max();
    let session = session
        .filter(|session| *session != 0)
        .context("a session")?;
    for element in 0..runs.len() {
        let mut all = runs.get(element)?;
        for run in &mut all {
            run[0] = 1 << 32 | session;
        }
        runs.set(element, &all)?;
    }
    Ok(())
}

#[test]
fn a_switch_that_no_program_reads_is_of_another_agent() -> Result<()> {
    let mut bed = stage(Start::new())?;
    let path = bed.node.bpf_dir().join("trace/switch");
    // An agent looks after its pin: meanwhile there is none.
    bed.agent.take().context("it runs")?.stop()?;
    let info = lb_sys::map_info(lb_sys::open_pin(&path)?)?;
    std::fs::remove_file(&path)?;
    lb_sys::pin(lb_sys::create_map(info)?, &path)?;
    let trace = || agent::verb(&bed.node, &["trace", "--duration", "1s"]);
    let error = trace().err().context("it traces what nobody reads")?;
    let error = format!("{error:#}");
    ensure!(error.contains("does not know `trace`"), "{error}");
    let agent = Start::new().on(&bed.node)?;
    trace()?;
    drop(agent);
    Ok(())
}

/// The word that the programs ask for.
fn switch(bed: &OneNode) -> Result<u64> {
    let pin = lb_sys::open_pin(&bed.node.bpf_dir().join("trace/switch"))?;
    let map: lb_sys::Map<u32, u64> = lb_sys::Map::new(pin)?;
    map.get(&0)?.context("it has one word")
}

#[test]
fn a_tracer_that_is_killed_leaves_the_switch_off() -> Result<()> {
    let bed = stage(Start::new())?;
    let to = WEB_VIP.at(Family::V4, PORT);
    assert_eq!(switch(&bed)?, 0, "nobody has traced");
    let mut trace = Trace::start(&bed.node, "killed", &[])?;
    ensure!(switch(&bed)? != 0);
    trace.0.signal(Signal::SIGKILL)?;
    trace.0.wait(CHANGE)?;
    // The first program that finds it late.
    poll::until_true(CHANGE, "the switch is off", || {
        bed.client().ask(Kind::Tcp, to)?;
        Ok(switch(&bed)? == 0)
    })?;
    // One that ends by itself turns it off itself.
    let mut trace = Trace::start(&bed.node, "counted", &["--count", "1"])?;
    bed.client().ask(Kind::Tcp, to)?;
    let status = trace.0.wait(CHANGE)?;
    ensure!(status.success() && switch(&bed)? == 0, "{status}");
    assert_eq!(trace.decisions()?.len(), 1);
    Ok(())
}

#[test]
fn a_second_tracer_is_told_of_the_first() -> Result<()> {
    let bed = stage(Start::new())?;
    let first = Trace::start(&bed.node, "first", &["svc/empty"])?;
    let error = agent::verb(&bed.node, &["trace", "--count", "1"]).unwrap_err();
    let error = format!("{error:#}");
    ensure!(error.contains("another `lb-agent trace`"), "{error}");
    // The first goes on, at what it has asked for.
    bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    let to = EMPTY_VIP.at(Family::V4, PORT);
    ensure!(errno(bed.client().connect(Kind::Tcp, to)).is_some());
    let all = first.until("its own", |d| is_for(d, to))?;
    assert_eq!(all.len(), 1, "{all:#?}");
    Ok(())
}
