//! What the kernel tells about a program, and programs that come from no object file, loaded from
//! their instructions.

use std::os::fd::{AsFd, OwnedFd};

use crate::{
    Error,
    call::{Command, bpf, ptr},
    object::{ask, info, own},
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

#[repr(C)]
struct ByIdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Opens the loaded program with this number. Linux 4.13.
pub fn open_program(id: u32) -> Result<OwnedFd, Error> {
    let mut attr = ByIdAttr {
        id,
        next_id: 0,
        open_flags: 0,
    };
    // SAFETY: the layout of BPF_PROG_GET_FD_BY_ID, without pointers.
    unsafe { bpf(Command::ProgById, &mut attr) }.map(own)
}

/// The head of `struct bpf_prog_info`, up to the maps. The kernel reads the numbers, and writes what
/// it has; the pointers that are 0 ask for nothing.
#[repr(C)]
#[derive(Default)]
struct MapsInfo {
    head: RawInfo,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
}

/// No program uses more maps (`MAX_USED_MAPS`).
const MOST_MAPS: usize = 64;

/// Uses the program the map with this number? Linux 4.15.
pub fn program_uses_map(program: impl AsFd, map: u32) -> Result<bool, Error> {
    let mut ids = [0_u32; MOST_MAPS];
    let mut info = MapsInfo {
        nr_map_ids: u32::try_from(MOST_MAPS).unwrap_or(0),
        map_ids: ptr(ids.as_mut_ptr()),
        ..MapsInfo::default()
    };
    // SAFETY: `repr(C)`, integers only, no padding; the kernel writes at most `nr_map_ids` numbers
    // to `map_ids`.
    unsafe { ask(&program, &mut info) }?;
    let count = usize::try_from(info.nr_map_ids).unwrap_or(MOST_MAPS);
    Ok(ids[..count.min(MOST_MAPS)].contains(&map))
}
