//! Objects of any kind: pins, and what the kernel tells about a map. Owns descriptors that the
//! kernel hands out.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use crate::call::{Command, Error, bpf, ptr};

/// Takes a descriptor that bpf(2) has just returned into ownership.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: fresh from the kernel, so this is its only owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[repr(C)]
struct ObjAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

fn c_path(call: &'static str, path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes()).map_err(|e| Error::Call {
        call,
        source: io::Error::new(io::ErrorKind::InvalidInput, e),
    })
}

/// Opens the pinned object (map, program or link). Linux 4.4.
pub fn open_pin(path: &Path) -> Result<OwnedFd, Error> {
    open(path, 0)
}

/// Opens the pinned map for those who only look: the kernel refuses every write through it. Linux
/// 4.15.
pub fn open_pin_read_only(path: &Path) -> Result<OwnedFd, Error> {
    /// `BPF_F_RDONLY`
    const READ_ONLY: u32 = 1 << 3;
    open(path, READ_ONLY)
}

fn open(path: &Path, file_flags: u32) -> Result<OwnedFd, Error> {
    let path = c_path("BPF_OBJ_GET", path)?;
    let mut attr = ObjAttr {
        pathname: ptr(path.as_ptr()),
        bpf_fd: 0,
        file_flags,
    };
    // SAFETY: the layout of BPF_OBJ_GET; the path is a live C string.
    unsafe { bpf(Command::ObjGet, &mut attr) }.map(own)
}

/// Pins the object; EEXIST if the path is taken. Linux 4.4.
pub fn pin(object: impl AsFd, path: &Path) -> Result<(), Error> {
    let path = c_path("BPF_OBJ_PIN", path)?;
    let mut attr = ObjAttr {
        pathname: ptr(path.as_ptr()),
        bpf_fd: raw(&object),
        file_flags: 0,
    };
    // SAFETY: the layout of BPF_OBJ_PIN; the path is a live C string, the descriptor a borrowed
    // one.
    unsafe { bpf(Command::ObjPin, &mut attr) }.map(drop)
}

/// A borrowed descriptor as attributes hold it.
pub(crate) fn raw(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().unsigned_abs()
}

/// What the kernel tells about a map: the head of `struct bpf_map_info`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MapInfo {
    /// `enum bpf_map_type`
    pub kind: u32,
    /// The kernel's number of this object.
    pub id: u32,
    /// Bytes.
    pub key_size: u32,
    /// Bytes, of one CPU.
    pub value_size: u32,
    /// Entries it can hold.
    pub max_entries: u32,
    /// `BPF_F_*`
    pub flags: u32,
}

#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// Fills `T`, a prefix of the information struct of the object's kind.
///
/// # Safety
/// `T` is `repr(C)`, made of integers, and any bytes are a value of it.
pub(crate) unsafe fn info<T: Default>(object: &impl AsFd) -> Result<T, Error> {
    let mut info = T::default();
    // SAFETY: the caller's promise; zeroes are no pointers.
    unsafe { ask(object, &mut info) }?;
    Ok(info)
}

/// The same over what the struct says already: numbers of elements, and where they go.
///
/// # Safety
/// As for [`info`], and the pointers in it are 0 or to as many live elements.
pub(crate) unsafe fn ask<T>(object: &impl AsFd, info: &mut T) -> Result<(), Error> {
    let mut attr = InfoAttr {
        bpf_fd: raw(object),
        info_len: u32::try_from(size_of::<T>()).unwrap_or(0),
        info: ptr(std::ptr::from_mut(info)),
    };
    // SAFETY: the layout of BPF_OBJ_GET_INFO_BY_FD; the kernel writes at most `info_len` bytes to
    // `info`.
    unsafe { bpf(Command::InfoByFd, &mut attr) }.map(drop)
}

/// Asks the kernel about a map. Linux 4.13.
pub fn map_info(map: impl AsFd) -> Result<MapInfo, Error> {
    // SAFETY: `repr(C)`, six u32.
    unsafe { info(&map) }
}

#[repr(C)]
struct CreateAttr {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

/// A map without a name and without BTF, of the given kind, sizes, capacity and flags (`id` is not
/// looked at): the inner map of the barrier, and scratch maps of probes and tests.
pub fn create_map(wanted: MapInfo) -> Result<OwnedFd, Error> {
    let MapInfo {
        kind,
        id: _,
        key_size,
        value_size,
        max_entries,
        flags,
    } = wanted;
    let mut attr = CreateAttr {
        kind,
        key_size,
        value_size,
        max_entries,
        flags,
    };
    // SAFETY: the layout of BPF_MAP_CREATE's head, without pointers.
    unsafe { bpf(Command::MapCreate, &mut attr) }.map(own)
}
