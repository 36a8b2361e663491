//! The system call itself, and its errors. Owns the command numbers and the one `syscall(SYS_bpf)`.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use thiserror::Error;

/// Why a call failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The kernel said no.
    #[error("{call}: {source}")]
    Call {
        /// Name of the command, as bpf(2) spells it.
        call: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// The object is not what the caller takes it for.
    #[error("{what} is {found}, not {expected}: the pin is another version's or another program's")]
    Layout {
        /// Which property.
        what: &'static str,
        /// As the caller's types say.
        expected: u64,
        /// As the kernel says.
        found: u64,
    },
    /// An index that the array does not have.
    #[error("index {index} of an array of {len}")]
    OutOfRange {
        /// Asked for.
        index: u32,
        /// Number of elements.
        len: u32,
    },
}

impl Error {
    /// The system's error number, if the kernel said no.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Call { source, .. } => source.raw_os_error(),
            Self::Layout { .. } | Self::OutOfRange { .. } => None,
        }
    }
}

/// The kernel's own "not supported" (ENOTSUPP), which libc does not name: a map type without that
/// operation.
pub(crate) const ENOTSUPP: i32 = 524;

/// Commands of bpf(2), by number.
#[derive(Clone, Copy)]
#[repr(i32)]
pub(crate) enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgRun = 10,
    ProgById = 13,
    InfoByFd = 15,
    ProgQuery = 16,
    MapTake = 21,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
    LinkCreate = 28,
    LinkUpdate = 29,
    IterCreate = 33,
    LinkDetach = 34,
}

impl Command {
    const fn name(self) -> &'static str {
        match self {
            Self::MapCreate => "BPF_MAP_CREATE",
            Self::MapLookup => "BPF_MAP_LOOKUP_ELEM",
            Self::MapUpdate => "BPF_MAP_UPDATE_ELEM",
            Self::MapDelete => "BPF_MAP_DELETE_ELEM",
            Self::MapNextKey => "BPF_MAP_GET_NEXT_KEY",
            Self::ProgLoad => "BPF_PROG_LOAD",
            Self::ObjPin => "BPF_OBJ_PIN",
            Self::ObjGet => "BPF_OBJ_GET",
            Self::ProgRun => "BPF_PROG_TEST_RUN",
            Self::ProgQuery => "BPF_PROG_QUERY",
            Self::ProgById => "BPF_PROG_GET_FD_BY_ID",
            Self::InfoByFd => "BPF_OBJ_GET_INFO_BY_FD",
            Self::MapTake => "BPF_MAP_LOOKUP_AND_DELETE_ELEM",
            Self::MapLookupBatch => "BPF_MAP_LOOKUP_BATCH",
            Self::MapUpdateBatch => "BPF_MAP_UPDATE_BATCH",
            Self::MapDeleteBatch => "BPF_MAP_DELETE_BATCH",
            Self::LinkCreate => "BPF_LINK_CREATE",
            Self::LinkUpdate => "BPF_LINK_UPDATE",
            Self::IterCreate => "BPF_ITER_CREATE",
            Self::LinkDetach => "BPF_LINK_DETACH",
        }
    }
}

/// Calls of this process that wrote to maps.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// How often this process has asked the kernel to write to a map or to delete from it, a batch
/// counting as one. What is stored into a mapped array is not among it: that takes no call.
#[must_use]
pub fn write_calls() -> u64 {
    WRITES.load(Ordering::Relaxed)
}

/// bpf(2) with `attr`, a mirror of the command's part of `union bpf_attr` without padding; the
/// kernel takes what lies behind it as zero. Returns the call's own result (a descriptor for the
/// commands that make one).
///
/// # Safety
/// `A` is the layout that the command reads, and every pointer in it is valid for what the command
/// reads and writes there.
pub(crate) unsafe fn bpf<A>(command: Command, attr: &mut A) -> Result<i32, Error> {
    if matches!(
        command,
        Command::MapUpdate | Command::MapDelete | Command::MapUpdateBatch | Command::MapDeleteBatch
    ) {
        WRITES.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the attribute is a live, exclusively borrowed value of the given size; its pointers
    // are the caller's promise.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as i32,
            std::ptr::from_mut(attr),
            size_of::<A>(),
        )
    };
    if rc < 0 {
        return Err(Error::Call {
            call: command.name(),
            source: io::Error::last_os_error(),
        });
    }
    Ok(i32::try_from(rc).unwrap_or(i32::MAX))
}

/// A pointer as the kernel's attributes hold it.
pub(crate) fn ptr<T>(p: *const T) -> u64 {
    p.addr() as u64
}
