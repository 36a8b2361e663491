//! Programs that come from no object file: loaded from their instructions, and run on frames of ours. Owns the two calls;
//! knows nothing of what the instructions mean.

use std::os::fd::{AsFd, OwnedFd};

use crate::{
    Error,
    call::{Command, bpf, ptr},
    object::{own, raw},
};

/// `BPF_PROG_TYPE_XDP`
const XDP: u32 = 6;
/// `r0 = XDP_PASS; exit`
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];
/// `BPF_F_TEST_XDP_LIVE_FRAMES`
const LIVE_FRAMES: u32 = 1 << 1;
/// Frames that are under way at once.
const BATCH: u32 = 64;

#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// `test` of `union bpf_attr`.
#[repr(C)]
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

/// An XDP program of these instructions, each as the kernel has it in memory. Linux 4.8.
pub fn load_xdp(instructions: &[u64]) -> Result<OwnedFd, Error> {
    let mut attr = LoadAttr {
        prog_type: XDP,
        insn_cnt: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
        insns: ptr(instructions.as_ptr()),
        license: ptr(c"GPL".as_ptr()),
    };
    // SAFETY: the layout of BPF_PROG_LOAD up to its first optional field; the pointers are to so many live instructions (a
    // count that does not fit is more than the kernel takes) and to a terminated string.
    unsafe { bpf(Command::ProgLoad, &mut attr) }.map(own)
}

/// An XDP program that lets every frame pass: a veth device takes what its peer sends by `XDP_TX` only if it has a program
/// of its own, whatever its offloads are. Linux 4.8.
pub fn xdp_pass() -> Result<OwnedFd, Error> {
    load_xdp(&PASS)
}

/// Runs an XDP program on a frame `times` times, and carries its verdicts out: a redirected frame is really sent, by a device
/// of the caller's network namespace. The frames' memory is used again without being written anew. Returns the nanoseconds for
/// each by the kernel's own account, which leaves out what the call takes besides: milliseconds, until all memory is given
/// back. Linux 5.18.
pub fn run_live_frames(program: impl AsFd, frame: &[u8], times: u32) -> Result<u32, Error> {
    let mut attr = RunAttr {
        prog_fd: raw(&program),
        retval: 0,
        data_size_in: u32::try_from(frame.len()).unwrap_or(u32::MAX),
        data_size_out: 0,
        data_in: ptr(frame.as_ptr()),
        data_out: 0,
        repeat: times,
        duration: 0,
        ctx_size_in: 0,
        ctx_size_out: 0,
        ctx_in: 0,
        ctx_out: 0,
        flags: LIVE_FRAMES,
        cpu: 0,
        batch_size: BATCH,
        pad: 0,
    };
    // SAFETY: the layout of BPF_PROG_TEST_RUN; the frame is a live slice of that length (one that does not fit is more than
    // the kernel takes), and no output is asked for.
    unsafe { bpf(Command::ProgRun, &mut attr) }?;
    Ok(attr.duration)
}
