//! Arrays mapped into memory (`BPF_F_MMAPABLE`, Linux 5.5): written by aligned stores of eight bytes that programs read as
//! they run. Owns the order of the stores: the first word last.

use std::{
    io,
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::Pod;

use crate::{
    call::Error,
    map::size,
    object::{MapInfo, map_info},
};

/// `BPF_MAP_TYPE_ARRAY`
const ARRAY: u32 = 2;
/// `BPF_F_MMAPABLE`
const MMAPABLE: u32 = 1 << 10;

/// An array map of `T`, whose size is a multiple of eight, in shared memory.
#[derive(Debug)]
pub struct MappedArray<T> {
    words: NonNull<AtomicU64>,
    len: u32,
    bytes: usize,
    writable: bool,
    types: PhantomData<fn() -> T>,
}

// SAFETY: the mapping belongs to this value alone until it is dropped, and is touched by atomics only.
unsafe impl<T> Send for MappedArray<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for MappedArray<T> {}

impl<T: Pod> MappedArray<T> {
    const WORDS: usize = {
        assert!(size_of::<T>() > 0 && size_of::<T>().is_multiple_of(8));
        size_of::<T>() / 8
    };

    /// Maps the array; `writable` is false for those who only look.
    pub fn new(map: impl AsFd, writable: bool) -> Result<Self, Error> {
        let MapInfo {
            kind,
            key_size,
            value_size,
            max_entries,
            flags,
            ..
        } = map_info(&map)?;
        size("the key's size", 4, key_size)?;
        size("the value's size", size_of::<T>(), value_size)?;
        if kind != ARRAY || flags & MMAPABLE == 0 {
            return Err(Error::Layout {
                what: "the map's type",
                expected: ARRAY.into(),
                found: kind.into(),
            });
        }
        let bytes = max_entries as usize * Self::WORDS * 8;
        let protection = if writable {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        // SAFETY: a new mapping at an address of the kernel's choice; it refuses more bytes than the array has.
        let p = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                map.as_fd().as_raw_fd(),
                0,
            )
        };
        match NonNull::new(p.cast::<AtomicU64>()) {
            Some(words) if p != libc::MAP_FAILED => Ok(Self {
                words,
                len: max_entries,
                bytes,
                writable,
                types: PhantomData,
            }),
            _ => Err(Error::Call {
                call: "mmap",
                source: io::Error::last_os_error(),
            }),
        }
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// True for an array without elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The words of an element.
    fn element(&self, index: u32) -> Result<&[AtomicU64], Error> {
        if index >= self.len {
            return Err(Error::OutOfRange {
                index,
                len: self.len,
            });
        }
        // SAFETY: in range, so `WORDS` words stand there, page-aligned at the start; they live as long as `self`, and both
        // sides touch them by whole-word accesses only. A mapping that is only readable is only read (`store`, `add`).
        Ok(unsafe {
            std::slice::from_raw_parts(
                self.words.as_ptr().add(index as usize * Self::WORDS),
                Self::WORDS,
            )
        })
    }

    fn writable(&self, index: u32) -> Result<&[AtomicU64], Error> {
        if self.writable {
            self.element(index)
        } else {
            Err(Error::Call {
                call: "store",
                source: io::ErrorKind::PermissionDenied.into(),
            })
        }
    }

    /// Writes the words behind the first, then (release) the first: whoever sees the new first word sees the rest.
    pub fn store(&self, index: u32, value: &T) -> Result<(), Error> {
        let element = self.writable(index)?;
        let source = std::ptr::from_ref(value).cast::<u64>();
        // SAFETY: `value` has `WORDS` words of plain integers without padding (`Pod`); read unaligned.
        let word = |i: usize| unsafe { source.add(i).read_unaligned() };
        for (i, w) in element.iter().enumerate().skip(1) {
            w.store(word(i), Ordering::Relaxed);
        }
        element[0].store(word(0), Ordering::Release);
        Ok(())
    }

    /// Reads the first word (acquire), then the rest.
    pub fn load(&self, index: u32) -> Result<T, Error> {
        let element = self.element(index)?;
        let mut value = MaybeUninit::<T>::uninit();
        let target = value.as_mut_ptr().cast::<u64>();
        for (i, w) in element.iter().enumerate() {
            let w = w.load(if i == 0 {
                Ordering::Acquire
            } else {
                Ordering::Relaxed
            });
            // SAFETY: `value` has room for `WORDS` words; written unaligned.
            unsafe { target.add(i).write_unaligned(w) };
        }
        // SAFETY: every byte was written; any bytes are a `T` (`Pod`).
        Ok(unsafe { value.assume_init() })
    }

    /// Adds to the first word (wrapping), as one atomic step for programs that add to it too.
    pub fn add(&self, index: u32, n: u64) -> Result<(), Error> {
        self.writable(index)?[0].fetch_add(n, Ordering::Relaxed);
        Ok(())
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, whole; nothing borrowed from it outlives `self`.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.bytes) };
    }
}
