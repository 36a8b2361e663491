//! What the programs cost for being ones that `lb-agent trace` can look into: the same programs
//! without that, as they are while nobody looks, and while somebody does.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_agent::{
    hooks::{
        attach::{Attachments, TcMode},
        cgroup::Cgroup,
    },
    load::{self, OBJECT, Options, probe::Features},
    maps::dir::BpfDir,
    settings::values::XdpMode,
};
use testbed::{agent, lan::Lan, netns::Netns, poll, process::Process};

use super::{
    Balanced, SPECIAL_AT,
    rows::{Rows, place_of},
};
use crate::services::{Class, shuffled};

/// The programs have no switch that could be turned on.
pub(super) const WITHOUT: &str = "VIP, 1000 services, programs without trace";
/// Somebody has looked, and looks no more.
pub(super) const OFF: &str = "VIP, 1000 services, trace off";
/// Somebody looks for what nobody does here.
const ON: &str = "VIP, 1000 services, trace on";
/// An address that no row goes to (RFC 5737).
const NOWHERE: &str = "192.0.2.1";
/// A tracer needs a moment to begin.
const BEGUN: Duration = Duration::from_secs(30);

/// A node for each row.
pub(super) struct Traced {
    without: Balanced,
    off: Balanced,
    on: Balanced,
    /// Of the last one.
    _tracer: Process,
}

impl Traced {
    /// Nodes of these numbers.
    pub(super) fn new(lan: &Lan, numbers: [u8; 3]) -> Result<Self> {
        let classes = vec![Class::Plain; usize::try_from(SPECIAL_AT)?];
        let nodes = numbers.map(|number| Balanced::new(lan, number, &classes));
        let [without, off, on] = nodes;
        let (without, off, on) = (without?, off?, on?);
        // Both by the same words, so that they differ in nothing else.
        load(&without, false)?;
        load(&off, true)?;
        off.node.run(
            &[
                words(&off)?,
                ["--duration", "1s"].map(str::to_owned).to_vec(),
            ]
            .concat(),
        )?;
        ensure!(!is_on(&off)?, "the tracer has left the switch on");
        load(&on, true)?;
        let tracer = tracer(&on)?;
        Ok(Self {
            without,
            off,
            on,
            _tracer: tracer,
        })
    }

    /// The three rows, to the same VIPs.
    pub(super) fn rows(&self, rows: &mut Rows<'_>, plain: &Netns) -> Result<()> {
        for (name, one) in [(WITHOUT, &self.without), (OFF, &self.off), (ON, &self.on)] {
            let place = place_of(plain, &one.cgroup);
            let programs = Some(one.node.bpf_dir().to_owned());
            rows.vips(name.to_owned(), &place, shuffled(SPECIAL_AT), programs)?;
        }
        Ok(())
    }
}

/// Puts the programs of sockets in the place of the agent's, with or without what `trace` needs.
fn load(one: &Balanced, trace: bool) -> Result<()> {
    let options = Options {
        trace,
        ..Options::default()
    };
    one.node.block(|| {
        let dir = BpfDir::create(one.node.bpf_dir())?;
        let (ebpf, _maps, commit) = load::load(OBJECT, &dir, &options)?.split();
        let cgroup = Cgroup::open(Some(one.node.root_cgroup().path()))?;
        let tc = if Features::probe()?.tcx {
            TcMode::Tcx
        } else {
            TcMode::Clsact
        };
        let mut attachments = Attachments::new(ebpf, &dir, cgroup, tc, XdpMode::Native)?;
        commit.run()?;
        // Sockets alone: no device has anything to do here.
        let problems = attachments.follow(&[])?;
        ensure!(problems.is_empty(), "{problems:?}");
        Ok(())
    })
}

/// Looks for what nobody does.
fn words(one: &Balanced) -> Result<Vec<String>> {
    let binary = agent::binary()?.display().to_string();
    let dir = one.node.bpf_dir().display().to_string();
    let words = [&binary, "trace", "--bpf-dir", &dir, "--backend", NOWHERE];
    Ok(words.map(str::to_owned).to_vec())
}

/// Somebody who looks at this node, from now on.
fn tracer(one: &Balanced) -> Result<Process> {
    let log = one.node.files().join("trace.log");
    let tracer = one.node.spawn(&words(one)?, &log)?;
    poll::until_true(BEGUN, "the switch is on", || is_on(one))?;
    Ok(tracer)
}

/// Do the programs make records now?
fn is_on(one: &Balanced) -> Result<bool> {
    let pin = BpfDir::at(one.node.bpf_dir()).trace_switch();
    let switch: lb_sys::Map<u32, u64> = lb_sys::Map::new(lb_sys::open_pin(&pin)?)?;
    Ok(switch.get(&0)?.is_some_and(|until| until != 0))
}
