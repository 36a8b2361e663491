//! Links: a program's hold on a hook. Owns making them and swapping their program in place, which
//! libraries offer for some hooks only; knows nothing of pins' names.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
};

use aya::Pod;

use crate::{
    call::{Command, Error, bpf, ptr},
    map::value_of,
    object::{info, own, raw},
};

/// A hook of a cgroup, by its number in `enum bpf_attach_type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
#[expect(missing_docs, reason = "named as in the kernel's enum")]
pub enum CgroupHook {
    SockOps = 3,
    Inet4Bind = 8,
    Inet6Bind = 9,
    Inet4Connect = 10,
    Inet6Connect = 11,
    Udp4Sendmsg = 14,
    Udp6Sendmsg = 15,
    Udp4Recvmsg = 19,
    Udp6Recvmsg = 20,
    Inet4Getpeername = 29,
    Inet6Getpeername = 30,
    InetSockRelease = 34,
}

/// A hook of a device's traffic control, by its number in `enum bpf_attach_type` (tcx, Linux 6.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum TcHook {
    /// Before the stack sees a received packet; our program goes first.
    Ingress = 46,
    /// Before a packet is queued for sending; our program goes last.
    Egress = 47,
}

/// How XDP runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Xdp {
    /// In the driver (`XDP_FLAGS_DRV_MODE`).
    Native = 1 << 2,
    /// In the stack, after the packet's buffer was made (`XDP_FLAGS_SKB_MODE`).
    Generic = 1 << 1,
}

const TRACE_ITER: u32 = 28;
const XDP: u32 = 37;
const BPF_F_BEFORE: u32 = 1 << 3;
const BPF_F_AFTER: u32 = 1 << 4;

#[repr(C)]
struct CreateAttr {
    prog_fd: u32,
    /// Descriptor or interface index.
    target: u32,
    attach_type: u32,
    flags: u32,
    /// By kind of link: pointer to the iterator's argument, or tcx's relative descriptor and its
    /// padding.
    extra: u64,
    /// By kind of link: length of the iterator's argument and padding, or tcx's expected revision.
    extra2: u64,
}

fn create(
    program: &impl AsFd,
    target: u32,
    attach_type: u32,
    flags: u32,
) -> Result<OwnedFd, Error> {
    let mut attr = CreateAttr {
        prog_fd: raw(program),
        target,
        attach_type,
        flags,
        extra: 0,
        extra2: 0,
    };
    // SAFETY: the layout of BPF_LINK_CREATE without its pointers.
    unsafe { bpf(Command::LinkCreate, &mut attr) }.map(own)
}

/// Attaches to a cgroup (an open directory) beside whatever is there already. Linux 5.7.
pub fn create_cgroup(
    program: impl AsFd,
    cgroup: impl AsFd,
    hook: CgroupHook,
) -> Result<OwnedFd, Error> {
    create(&program, raw(&cgroup), hook as u32, 0)
}

/// Attaches to a device: first of all at ingress, last of all at egress. Linux 6.6.
pub fn create_tcx(program: impl AsFd, ifindex: u32, hook: TcHook) -> Result<OwnedFd, Error> {
    let flags = match hook {
        TcHook::Ingress => BPF_F_BEFORE,
        TcHook::Egress => BPF_F_AFTER,
    };
    create(&program, ifindex, hook as u32, flags)
}

/// Attaches XDP to a device; EBUSY if another program is there. Linux 5.9.
pub fn create_xdp(program: impl AsFd, ifindex: u32, mode: Xdp) -> Result<OwnedFd, Error> {
    create(&program, ifindex, XDP, mode as u32)
}

/// Attaches an iterator over the elements of `map`. Linux 5.9.
pub fn create_iter(program: impl AsFd, map: impl AsFd) -> Result<OwnedFd, Error> {
    let map_fd = raw(&map);
    let mut attr = CreateAttr {
        prog_fd: raw(&program),
        target: 0,
        attach_type: TRACE_ITER,
        flags: 0,
        extra: ptr(&raw const map_fd),
        extra2: size_of::<u32>() as u64,
    };
    // SAFETY: the layout of BPF_LINK_CREATE; `extra` points to a live `union bpf_iter_link_info` of
    // the four bytes that `extra2` says (little endian: the low half is `iter_info_len`).
    unsafe { bpf(Command::LinkCreate, &mut attr) }.map(own)
}

#[repr(C)]
struct IterAttr {
    link_fd: u32,
    flags: u32,
}

/// Runs an iterator's link from the start to the end, and returns the values that the program
/// wrote, one behind the other; a part of one at the end is left out. Linux 5.8.
pub fn read_iter<T: Pod>(link: impl AsFd) -> Result<Vec<T>, Error> {
    let mut attr = IterAttr {
        link_fd: raw(&link),
        flags: 0,
    };
    // SAFETY: the layout of BPF_ITER_CREATE, without pointers.
    let iter = unsafe { bpf(Command::IterCreate, &mut attr) }.map(own)?;
    let mut out = Vec::new();
    File::from(iter)
        .read_to_end(&mut out)
        .map_err(|source| Error::Call {
            call: "read of an iterator",
            source,
        })?;
    Ok(out
        .chunks_exact(size_of::<T>())
        .filter_map(value_of)
        .collect())
}

#[repr(C)]
struct UpdateAttr {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// Puts another program of the same type in the link's place, in one step: the hook is never
/// without one. Linux 5.7.
///
/// Fails with ENOLINK where what the link was attached to is gone.
pub fn update(link: impl AsFd, program: impl AsFd) -> Result<(), Error> {
    let mut attr = UpdateAttr {
        link_fd: raw(&link),
        new_prog_fd: raw(&program),
        flags: 0,
        old_prog_fd: 0,
    };
    // SAFETY: the layout of BPF_LINK_UPDATE, without pointers.
    unsafe { bpf(Command::LinkUpdate, &mut attr) }.map(drop)
}

#[repr(C)]
struct DetachAttr {
    link_fd: u32,
}

/// Takes the link off its hook, at once: the last close of a link, or the removal of its pin, does
/// so a moment later. Linux 5.9.
pub fn detach(link: impl AsFd) -> Result<(), Error> {
    let mut attr = DetachAttr {
        link_fd: raw(&link),
    };
    // SAFETY: the layout of BPF_LINK_DETACH, without pointers.
    unsafe { bpf(Command::LinkDetach, &mut attr) }.map(drop)
}

/// What the kernel tells about a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkInfo {
    /// The kernel's number of this link.
    pub id: u32,
    /// The kernel's number of the program that it runs.
    pub program: u32,
    /// What it is attached to.
    pub target: LinkTarget,
}

/// What a link is attached to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkTarget {
    /// A cgroup, by id (the inode of its directory); 0 when it is gone.
    Cgroup(u64),
    /// XDP of a device, by index; 0 when it is gone.
    Xdp(u32),
    /// tcx of a device, by index; 0 when it is gone.
    Tcx(u32),
    /// Of a kind that we make no pins of, by its number in `enum bpf_link_type`.
    Other(u32),
}

/// The head of `struct bpf_link_info`.
#[repr(C)]
#[derive(Default)]
struct RawInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    pad: u32,
    /// cgroup: its id. XDP and tcx: the interface index in the first four bytes.
    target: u64,
    more: u64,
}

#[repr(C)]
struct QueryAttr {
    ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    pad: u32,
}

/// The kernel attaches no more programs to one hook (`BPF_MPROG_MAX`).
const MOST: usize = 64;

/// The programs of a device's tcx hook, by the kernel's numbers, in the order in which they run.
/// Linux 6.6.
pub fn query_tcx(ifindex: u32, hook: TcHook) -> Result<Vec<u32>, Error> {
    let mut ids = [0_u32; MOST];
    let mut attr = QueryAttr {
        ifindex,
        attach_type: hook as u32,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ptr(ids.as_mut_ptr()),
        count: u32::try_from(MOST).unwrap_or(0),
        pad: 0,
    };
    // SAFETY: the layout of BPF_PROG_QUERY up to its first optional field; the kernel writes at
    // most `count` numbers to `prog_ids`.
    unsafe { bpf(Command::ProgQuery, &mut attr) }?;
    let count = usize::try_from(attr.count).unwrap_or(MOST).min(MOST);
    Ok(ids[..count].to_vec())
}

/// Asks the kernel about a link. Linux 5.8.
pub fn link_info(link: impl AsFd) -> Result<LinkInfo, Error> {
    // SAFETY: `repr(C)`, integers only, no padding.
    let i: RawInfo = unsafe { info(&link) }?;
    let [a, b, c, d, ..] = i.target.to_ne_bytes();
    let ifindex = u32::from_ne_bytes([a, b, c, d]);
    Ok(LinkInfo {
        id: i.id,
        program: i.prog_id,
        target: match i.kind {
            3 => LinkTarget::Cgroup(i.target),
            6 => LinkTarget::Xdp(ifindex),
            11 => LinkTarget::Tcx(ifindex),
            other => LinkTarget::Other(other),
        },
    })
}
