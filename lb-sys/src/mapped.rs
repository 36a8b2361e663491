//! Arrays mapped into memory (`BPF_F_MMAPABLE`, Linux 5.5): written by aligned stores of eight
//! bytes that programs read as they run. Owns the order of the stores, the first word last, and how
//! much of an array is mapped at a time.

use std::{
    io,
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    ptr::NonNull,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
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
/// Elements of a window: whole pages of up to 64 KiB, whatever an element's size. The kernel makes
/// every page of a mapping present at once, so what is mapped counts as memory of this process,
/// used or not.
const WINDOW: u32 = 8192;
/// Windows of an array that stay mapped. Walks go from one to the next, and a change touches one or
/// two.
const KEPT: usize = 4;

/// An array map of `T`, whose size is a multiple of eight, in shared memory.
#[derive(Debug)]
pub struct MappedArray<T> {
    map: OwnedFd,
    len: u32,
    writable: bool,
    /// The one that was used last comes first.
    windows: Mutex<Vec<Window>>,
    types: PhantomData<fn() -> T>,
}

/// A part of an array in memory.
#[derive(Debug)]
struct Window {
    /// Of [`WINDOW`] elements each, counted from the start of the array.
    number: u32,
    words: NonNull<AtomicU64>,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value alone until it is dropped, and is touched by atomics
// only.
unsafe impl Send for Window {}

impl<T: Pod> MappedArray<T> {
    const WORDS: usize = {
        assert!(size_of::<T>() > 0 && size_of::<T>().is_multiple_of(8));
        size_of::<T>() / 8
    };

    /// Opens the array for mapping; `writable` is false for those who only look.
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
        let array = Self {
            map: map
                .as_fd()
                .try_clone_to_owned()
                .map_err(|source| Error::Call {
                    call: "dup",
                    source,
                })?,
            len: max_entries,
            writable,
            windows: Mutex::default(),
            types: PhantomData,
        };
        // A map that cannot be mapped fails here, not at the first access.
        let first = array.open(0)?;
        array.windows().push(first);
        Ok(array)
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

    fn windows(&self) -> std::sync::MutexGuard<'_, Vec<Window>> {
        // A panic elsewhere leaves windows as good as they were.
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Maps a window.
    fn open(&self, number: u32) -> Result<Window, Error> {
        let first = number * WINDOW;
        let elements = WINDOW.min(self.len - first) as usize;
        let bytes = elements * Self::WORDS * 8;
        let offset = i64::from(first) * i64::try_from(Self::WORDS * 8).unwrap_or(i64::MAX);
        let protection = if self.writable {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        // SAFETY: a new mapping at an address of the kernel's choice; it refuses what lies outside
        // of the array.
        let p = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                self.map.as_raw_fd(),
                offset,
            )
        };
        match NonNull::new(p.cast::<AtomicU64>()) {
            Some(words) if p != libc::MAP_FAILED => Ok(Window {
                number,
                words,
                bytes,
            }),
            _ => Err(Error::Call {
                call: "mmap",
                source: io::Error::last_os_error(),
            }),
        }
    }

    /// Calls `f` with the words of an element.
    fn element<R>(&self, index: u32, f: impl FnOnce(&[AtomicU64]) -> R) -> Result<R, Error> {
        if index >= self.len {
            return Err(Error::OutOfRange {
                index,
                len: self.len,
            });
        }
        let at = (index % WINDOW) as usize * Self::WORDS;
        self.window(index / WINDOW, |words| f(&words[at..at + Self::WORDS]))
    }

    /// Calls `f` with the words of a window.
    fn window<R>(&self, number: u32, f: impl FnOnce(&[AtomicU64]) -> R) -> Result<R, Error> {
        let mut windows = self.windows();
        if let Some(at) = windows.iter().position(|w| w.number == number) {
            windows[..=at].rotate_right(1);
        } else {
            let window = self.open(number)?;
            windows.truncate(KEPT - 1);
            windows.insert(0, window);
        }
        let Window { words, bytes, .. } = &windows[0];
        // SAFETY: all of the window's words, page-aligned at the start; it stays while it is locked,
        // and both sides touch it by whole-word accesses only. One that is only readable is only
        // read (`writable`).
        let words = unsafe { std::slice::from_raw_parts(words.as_ptr(), bytes / 8) };
        Ok(f(words))
    }

    fn writable(&self, index: u32, f: impl FnOnce(&[AtomicU64])) -> Result<(), Error> {
        if self.writable {
            self.element(index, f)
        } else {
            Err(Error::Call {
                call: "store",
                source: io::ErrorKind::PermissionDenied.into(),
            })
        }
    }

    /// Writes the words behind the first, then (release) the first: a reader that sees the new first
    /// word sees the rest.
    pub fn store(&self, index: u32, value: &T) -> Result<(), Error> {
        let source = std::ptr::from_ref(value).cast::<u64>();
        // SAFETY: `value` has `WORDS` words of plain integers without padding (`Pod`); read
        // unaligned.
        let word = |i: usize| unsafe { source.add(i).read_unaligned() };
        self.writable(index, |element| {
            for (i, w) in element.iter().enumerate().skip(1) {
                w.store(word(i), Ordering::Relaxed);
            }
            element[0].store(word(0), Ordering::Release);
        })
    }

    /// Reads the first word (acquire), then the rest.
    pub fn load(&self, index: u32) -> Result<T, Error> {
        self.element(index, Self::read)
    }

    fn read(element: &[AtomicU64]) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        let target = value.as_mut_ptr().cast::<u64>();
        for (i, w) in element.iter().enumerate().take(Self::WORDS) {
            let w = w.load(if i == 0 {
                Ordering::Acquire
            } else {
                Ordering::Relaxed
            });
            // SAFETY: `value` has room for `WORDS` words; written unaligned.
            unsafe { target.add(i).write_unaligned(w) };
        }
        assert!(element.len() >= Self::WORDS, "every word was written");
        // SAFETY: every byte was written; any bytes are a `T` (`Pod`).
        unsafe { value.assume_init() }
    }

    /// The elements of which some word was not zero when it was looked at, with their indices, in
    /// order: a walk over the whole array, a window at a time. What programs write meanwhile may be
    /// zero again in the copy.
    pub fn used(&self) -> Result<Vec<(u32, T)>, Error> {
        let mut used = Vec::new();
        for number in 0..self.len.div_ceil(WINDOW) {
            self.window(number, |words| {
                let elements = (number * WINDOW..).zip(words.chunks_exact(Self::WORDS));
                for (index, element) in elements {
                    // Read once for all, since most are zero.
                    if element.iter().any(|w| w.load(Ordering::Relaxed) != 0) {
                        used.push((index, Self::read(element)));
                    }
                }
            })?;
        }
        Ok(used)
    }

    /// Adds to the first word (wrapping), as one atomic step for programs that add to it too.
    pub fn add(&self, index: u32, n: u64) -> Result<(), Error> {
        self.writable(index, |element| {
            element[0].fetch_add(n, Ordering::Relaxed);
        })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: our own mapping, whole; nothing borrowed from it outlives the lock under which it
        // is looked up.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.bytes) };
    }
}
