//! One packet through the programs of a hook, and what was counted meanwhile.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use lb_common::Reason;
use lb_sys::{SkbContext, TcHook};
use nix::libc::{EBADMSG, EINVAL};
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};

use crate::packet_table::{
    expect::Out,
    packet::{At, Packet, net_offset},
    plan::Device,
    row::Hook,
    stage::{Agent, Node, Program, State, has_tcx, indices},
    wire::Wire,
};

/// `TC_ACT_UNSPEC`: the next program, or the stack.
const NEXT: i32 = -1;
const SHOT: i32 = 2;
const REDIRECT: i32 = 7;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;
/// What XDP puts in front of a frame that it has translated for the stack.
const DONE: &[u8] = b"lb-x";

/// The node with its programs.
pub(crate) struct Scene {
    pub(crate) agent: Agent,
    pub(crate) state: State,
    indices: BTreeMap<Device, u32>,
    /// The kernel can run tc on a packet whose whole sum is known.
    summed: bool,
    /// The kernel has links of tc, by which rows get a wire.
    wired: bool,
}

/// What runs on a hook need of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Need {
    pub(crate) what: &'static str,
    /// The first Linux that has it.
    pub(crate) since: (u32, u32),
}

const CARD_SUM: Need = Need {
    what: "test runs with CHECKSUM_COMPLETE",
    since: (6, 11),
};
const TCX: Need = Need {
    what: "tcx links",
    since: (6, 6),
};

/// How XDP sends a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ByXdp {
    /// It passed it on to tc.
    No,
    /// It translated it for the stack.
    Passed,
    /// Out by the device it came in on.
    Returned,
    /// Out by another one.
    Redirected,
}

/// What became of a packet.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) out: Out,
    pub(crate) by_xdp: ByXdp,
    /// The frame as it left.
    pub(crate) frame: Vec<u8>,
    pub(crate) counted: Vec<Reason>,
    /// The program's own return value.
    pub(crate) verdict: i64,
}

impl Scene {
    /// To be called in the node's network namespace.
    pub(crate) fn new(node: &Node) -> Result<Self> {
        Self::with_flows(node, 16_384)
    }

    /// The same, with room for few flows, all of which are read after each packet.
    pub(crate) fn with_few_flows(node: &Node) -> Result<Self> {
        Self::with_flows(node, 512)
    }

    fn with_flows(node: &Node, flows: u32) -> Result<Self> {
        stay_on_this_cpu()?;
        let indices = indices()?;
        let agent = Agent::start(node.pins.path(), &indices, flows)?;
        let state = State::open(agent.dir())?;
        let mut scene = Self {
            agent,
            state,
            indices,
            summed: true,
            wired: has_tcx()?,
        };
        scene.summed = scene.knows_sums()?;
        Ok(scene)
    }

    /// What the kernel lacks for runs on this hook.
    pub(crate) fn lacks(&self, hook: Hook) -> Option<Need> {
        match hook {
            Hook::TcSummed if !self.summed => Some(CARD_SUM),
            Hook::Wire if !self.wired => Some(TCX),
            Hook::Tc | Hook::TcSummed | Hook::Xdp | Hook::Wire => None,
        }
    }

    /// The kernel's number of a device.
    pub(crate) fn index(&self, device: Device) -> u32 {
        self.indices[&device]
    }

    /// Older kernels do not know the flag.
    fn knows_sums(&self) -> Result<bool> {
        let program = self.agent.program(Program::TcIngress)?;
        let context = SkbContext {
            ifindex: self.index(Device::Eth0),
            checksum_complete: true,
            ..SkbContext::default()
        };
        match lb_sys::run_skb(program, &[0; 60], &context) {
            Ok(_) => Ok(true),
            Err(error) if error.errno() == Some(EINVAL) => Ok(false),
            Err(error) => Err(error).context("run a program of tc"),
        }
    }

    /// Runs the frame through the programs of its hook.
    pub(crate) fn run(
        &self,
        packet: &Packet,
        hook: Hook,
        device: Device,
        frame: &[u8],
    ) -> Result<Ran> {
        let before = self.agent.counters()?;
        let mut ran = match packet.at {
            At::Ingress(device) if hook == Hook::Wire => self.wire(device, frame)?,
            At::Ingress(device) if hook == Hook::Xdp => self.xdp(packet, device, frame)?,
            At::Ingress(device) => self.tc(Program::TcIngress, packet, hook, device, frame)?,
            At::Tunnel => self.tunnel(packet, device, frame)?,
            At::Egress(device) => self.tc(Program::TcEgress, packet, hook, device, frame)?,
            At::Lb0 => self.tc(Program::Lb0Out, packet, hook, Device::Lb0, frame)?,
            At::Lb0Back => self.tc(Program::Lb0Back, packet, hook, Device::Lb0Peer, frame)?,
        };
        for ((reason, now), (_, then)) in self.agent.counters()?.into_iter().zip(before) {
            let times = usize::try_from(now.wrapping_sub(then))?;
            ran.counted.extend(std::iter::repeat_n(reason, times));
        }
        Ok(ran)
    }

    fn tc(
        &self,
        program: Program,
        packet: &Packet,
        hook: Hook,
        device: Device,
        frame: &[u8],
    ) -> Result<Ran> {
        let size = u32::try_from(frame.len())?;
        let segments = size.checked_div(packet.segment).map_or(0, |n| n + 1);
        let context = SkbContext {
            ifindex: self.index(device),
            gso_size: packet.segment,
            gso_segs: segments,
            checksum_complete: hook == Hook::TcSummed && packet.segment == 0,
            ..SkbContext::default()
        };
        let ran = match lb_sys::run_skb(self.agent.program(program)?, frame, &context) {
            Ok(ran) => ran,
            // The program has run, and what it did is wrong.
            Err(error) if context.checksum_complete && error.errno() == Some(EBADMSG) => {
                return Ok(Ran {
                    out: Out::SumBroken,
                    by_xdp: ByXdp::No,
                    frame: frame.to_vec(),
                    counted: vec![],
                    verdict: i64::from(-EBADMSG),
                });
            }
            Err(error) => return Err(error).with_context(|| format!("run {program:?}")),
        };
        // The agent's own device has an address that no sender of the table has.
        let ours = [lb_common::lb0::MAC, lb_common::lb0::MAC].concat();
        let handed = ran.frame.starts_with(&ours);
        let out = match ran.verdict {
            NEXT => Out::Stack,
            SHOT => Out::Dropped,
            REDIRECT if handed => Out::Handed,
            REDIRECT => Out::Sent(None),
            other => anyhow::bail!("{program:?} returned {other}"),
        };
        Ok(Ran {
            out,
            by_xdp: ByXdp::No,
            frame: ran.frame,
            counted: vec![],
            verdict: ran.verdict.into(),
        })
    }

    /// Without the Ethernet header, which is put back for those who read what comes out.
    fn tunnel(&self, packet: &Packet, device: Device, frame: &[u8]) -> Result<Ran> {
        let (link, bare) = frame.split_at(net_offset(frame));
        let mut ran = self.tc(Program::TcIngress, packet, Hook::Tc, device, bare)?;
        if ran.out == Out::Stack {
            ran.frame = [link, &ran.frame].concat();
        }
        Ok(ran)
    }

    fn wire(&self, device: Device, frame: &[u8]) -> Result<Ran> {
        let wire = Wire::open()?;
        let program = self.agent.program(Program::TcIngress)?;
        let link = lb_sys::create_tcx(program, self.index(device), TcHook::Ingress)
            .context("attach tc to the wire's device")?;
        let left = wire.send(device, frame)?;
        drop(link);
        Ok(Ran {
            out: if left.is_some() {
                Out::Sent(None)
            } else {
                Out::Stack
            },
            by_xdp: ByXdp::No,
            frame: left.unwrap_or_else(|| frame.to_vec()),
            counted: vec![],
            verdict: 0,
        })
    }

    fn xdp(&self, packet: &Packet, device: Device, frame: &[u8]) -> Result<Ran> {
        let program = self.agent.program(Program::Xdp)?;
        let ran = lb_sys::run_xdp(program, frame, self.index(device)).context("run XDP")?;
        let (out, by_xdp) = match ran.verdict {
            XDP_DROP => (Out::Dropped, ByXdp::No),
            XDP_TX => (Out::Sent(None), ByXdp::Returned),
            XDP_REDIRECT => (Out::Sent(None), ByXdp::Redirected),
            XDP_PASS if ran.metadata == DONE => (Out::Stack, ByXdp::Passed),
            XDP_PASS => return self.tc(Program::TcIngress, packet, Hook::Tc, device, &ran.frame),
            other => anyhow::bail!("XDP returned {other}"),
        };
        Ok(Ran {
            out,
            by_xdp,
            frame: ran.frame,
            counted: vec![],
            verdict: ran.verdict.into(),
        })
    }
}

/// Limits are counted by CPU.
fn stay_on_this_cpu() -> Result<()> {
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &here)?)
}
