//! What the kernel tells about a program, and programs that come from no object file, loaded from
//! their instructions.

use std::os::fd::{AsFd, OwnedFd};

use crate::{
    Error,
    call::{Command, bpf, ptr},
    object::{info, own},
};

/// `BPF_PROG_TYPE_XDP`
const XDP: u32 = 6;
/// `r0 = XDP_PASS; exit`
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// `BPF_F_XDP_HAS_FRAGS`: it takes frames that do not lie in one piece. Linux 5.18.
const HAS_FRAGS: u32 = 1 << 5;

/// An XDP program of these instructions, each as the kernel has it in memory. Linux 4.8.
pub fn load_xdp(instructions: &[u64]) -> Result<OwnedFd, Error> {
    load(instructions, 0)
}

fn load(instructions: &[u64], prog_flags: u32) -> Result<OwnedFd, Error> {
    let mut attr = LoadAttr {
        prog_type: XDP,
        insn_cnt: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
        insns: ptr(instructions.as_ptr()),
        license: ptr(c"GPL".as_ptr()),
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags,
    };
    // SAFETY: the layout of BPF_PROG_LOAD up to its flags; the pointers that are none are to so
    // many live instructions (a count that does not fit is more than the kernel takes) and to a
    // terminated string.
    unsafe { bpf(Command::ProgLoad, &mut attr) }.map(own)
}

/// An XDP program that lets every frame pass: a veth device takes what its peer sends by `XDP_TX`
/// only if it has a program of its own, whatever its offloads are. Linux 5.18, for any MTU.
pub fn xdp_pass() -> Result<OwnedFd, Error> {
    load(&PASS, HAS_FRAGS)
}

/// The head of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct RawInfo {
    kind: u32,
    id: u32,
}

/// The kernel's number of a loaded program, as [`LinkInfo`](crate::LinkInfo) names it. Linux 4.13.
pub fn program_id(program: impl AsFd) -> Result<u32, Error> {
    // SAFETY: `repr(C)`, two u32.
    let i: RawInfo = unsafe { info(&program) }?;
    Ok(i.id)
}
