//! `BPF_PROG_TEST_RUN`: packet programs run on frames of the caller's, in the caller's network
//! namespace.

use std::os::fd::AsFd;

use crate::{
    Error,
    call::{Command, bpf, ptr},
    object::raw,
};

/// `BPF_F_TEST_XDP_LIVE_FRAMES`
const LIVE_FRAMES: u32 = 1 << 1;
/// `BPF_F_TEST_SKB_CHECKSUM_COMPLETE`
const CHECKSUM_COMPLETE: u32 = 1 << 2;
/// Live frames in flight at once.
const BATCH: u32 = 64;
/// Room for what a program puts in front of a frame or behind it.
const GROWTH: usize = 512;

/// `test` of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct RunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// `struct __sk_buff`, of which only the fields in [`SkbContext`] may differ from 0.
#[repr(C)]
#[derive(Default)]
struct SkBuff {
    head: [u32; 2],
    mark: u32,
    unset: [u32; 5],
    priority: u32,
    ingress_ifindex: u32,
    ifindex: u32,
    tc_index: u32,
    cb: [u32; 5],
    more: [u32; 19],
    flow_keys: u64,
    tstamp: u64,
    wire_len: u32,
    gso_segs: u32,
    sk: u64,
    gso_size: u32,
    tstamp_type: u32,
    hwtstamp: u64,
}

/// `struct xdp_md`
#[repr(C)]
#[derive(Default)]
struct XdpMd {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

const _: () = {
    assert!(size_of::<SkBuff>() == 192);
    assert!(std::mem::offset_of!(SkBuff, cb) == 48);
    assert!(std::mem::offset_of!(SkBuff, gso_size) == 176);
    assert!(size_of::<XdpMd>() == 24);
};

/// What a socket buffer says besides its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SkbContext {
    /// The device that it came in on or leaves by; 0 is loopback.
    pub ifindex: u32,
    /// `skb->mark`
    pub mark: u32,
    /// `skb->cb`, the words that programs may use.
    pub cb: [u32; 5],
    /// Payload bytes of each segment that the packet is to be cut into; 0 if it is not.
    pub gso_size: u32,
    /// Segments.
    pub gso_segs: u32,
    /// Bytes on the wire when it is cut; 0: the frame's own length.
    pub wire_len: u32,
    /// The sum over the frame is known (`CHECKSUM_COMPLETE`), and must be right after the run too:
    /// the run fails with EBADMSG if it is not. Linux 6.13 or so; older kernels say EINVAL.
    pub checksum_complete: bool,
}

/// What a program did to a socket buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SkbRun {
    /// The program's return value.
    pub verdict: i32,
    /// The frame from the link-layer header on.
    pub frame: Vec<u8>,
    /// `skb->mark`
    pub mark: u32,
    /// `skb->cb`
    pub cb: [u32; 5],
}

/// What a program did to an XDP frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XdpRun {
    /// The program's return value.
    pub verdict: u32,
    /// The frame from the link-layer header on.
    pub frame: Vec<u8>,
    /// What it put in front of the frame for the programs behind.
    pub metadata: Vec<u8>,
}

/// Runs a program of tc once on a frame with an Ethernet header. Nothing is sent, whatever it
/// returns. Linux 5.18 for all fields of the context.
pub fn run_skb(program: impl AsFd, frame: &[u8], context: &SkbContext) -> Result<SkbRun, Error> {
    let SkbContext {
        ifindex,
        mark,
        cb,
        gso_size,
        gso_segs,
        wire_len,
        checksum_complete,
    } = *context;
    let mut buffer = SkBuff {
        mark,
        ifindex,
        cb,
        wire_len,
        gso_segs,
        gso_size,
        ..SkBuff::default()
    };
    let mut out = vec![0; frame.len() + GROWTH];
    let flags = if checksum_complete {
        CHECKSUM_COMPLETE
    } else {
        0
    };
    let attr = run(&program, frame, &mut out, &mut buffer, flags)?;
    out.truncate(attr.data_size_out as usize);
    Ok(SkbRun {
        verdict: attr.retval.cast_signed(),
        frame: out,
        mark: buffer.mark,
        cb: buffer.cb,
    })
}

/// Runs an XDP program once on a frame that came in on the device. Nothing is sent, whatever it
/// returns. Linux 5.18; frames larger than some 3,500 bytes need a program that takes fragments.
pub fn run_xdp(program: impl AsFd, frame: &[u8], ingress_ifindex: u32) -> Result<XdpRun, Error> {
    let mut context = XdpMd {
        data_end: length(frame),
        ingress_ifindex,
        ..XdpMd::default()
    };
    let mut out = vec![0; frame.len() + GROWTH];
    let attr = run(&program, frame, &mut out, &mut context, 0)?;
    out.truncate(attr.data_size_out as usize);
    // The kernel counts from where the metadata begin.
    let metadata = out
        .drain(..(context.data as usize).min(out.len()))
        .collect();
    Ok(XdpRun {
        verdict: attr.retval,
        frame: out,
        metadata,
    })
}

/// One run; `C` is the context of the program's type.
fn run<C>(
    program: &impl AsFd,
    frame: &[u8],
    out: &mut [u8],
    context: &mut C,
    flags: u32,
) -> Result<RunAttr, Error> {
    let context_size = u32::try_from(size_of::<C>()).unwrap_or(u32::MAX);
    let mut attr = RunAttr {
        prog_fd: raw(program),
        data_size_in: length(frame),
        data_size_out: length(out),
        data_in: ptr(frame.as_ptr()),
        data_out: ptr(out.as_mut_ptr()),
        ctx_size_in: context_size,
        ctx_size_out: context_size,
        ctx_in: ptr(context),
        ctx_out: ptr(context),
        flags,
        ..RunAttr::default()
    };
    // SAFETY: the layout of BPF_PROG_TEST_RUN; frame, output and context are live for the call,
    // each with its own length (one that does not fit is more than the kernel takes), and the
    // kernel copies the context in before it writes it.
    unsafe { bpf(Command::ProgRun, &mut attr) }?;
    Ok(attr)
}

/// A length as the kernel's attributes hold it.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Runs an XDP program on a frame `times` times, and carries its verdicts out: a redirected frame
/// is really sent, by a device of the caller's network namespace. The frames' memory is used again
/// without being written anew. Returns the nanoseconds for each by the kernel's own account, which
/// leaves out what the call takes besides: milliseconds, until all memory is given back. Linux
/// 5.18.
pub fn run_live_frames(program: impl AsFd, frame: &[u8], times: u32) -> Result<u32, Error> {
    let mut attr = RunAttr {
        prog_fd: raw(&program),
        data_size_in: length(frame),
        data_in: ptr(frame.as_ptr()),
        repeat: times,
        flags: LIVE_FRAMES,
        batch_size: BATCH,
        ..RunAttr::default()
    };
    // SAFETY: the layout of BPF_PROG_TEST_RUN; the frame is a live slice of that length, and no
    // output is asked for.
    unsafe { bpf(Command::ProgRun, &mut attr) }?;
    Ok(attr.duration)
}
