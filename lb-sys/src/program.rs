//! A program of two instructions. Owns the loading of programs that come from no object file; knows nothing of ours.

use std::os::fd::OwnedFd;

use crate::{
    Error,
    call::{Command, bpf, ptr},
    object::own,
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
}

/// An XDP program that lets every frame pass: a veth device takes what its peer sends by `XDP_TX` only if it has a program
/// of its own, whatever its offloads are. Linux 4.8.
pub fn xdp_pass() -> Result<OwnedFd, Error> {
    let mut attr = LoadAttr {
        prog_type: XDP,
        insn_cnt: 2,
        insns: ptr(PASS.as_ptr()),
        license: ptr(c"GPL".as_ptr()),
    };
    // SAFETY: the layout of BPF_PROG_LOAD up to its first optional field; both pointers are to constants, of two instructions
    // and of a terminated string.
    unsafe { bpf(Command::ProgLoad, &mut attr) }.map(own)
}
