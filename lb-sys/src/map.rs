//! Hash maps and tries by key, one element or a batch at a time. Owns the batch commands (Linux
//! 5.6) and their replacement by single calls where a map type lacks them; knows nothing of arrays
//! that are mapped.

use std::{
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use aya::Pod;

use crate::{
    call::{Command, ENOTSUPP, Error, bpf, ptr},
    object::{MapInfo, map_info, raw},
};

/// What a batch did: how many leading elements, and why it stopped before the end, if it did.
#[derive(Debug)]
#[must_use]
pub struct Done {
    /// Elements done, from the first on.
    pub count: usize,
    /// The failure of element `count`; what stands behind it has not been tried.
    pub error: Option<Error>,
}

/// The value that these bytes begin with, as the kernel hands it out; `None` if they are too few.
#[must_use]
pub fn value_of<T: Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: there are the bytes of a `T`, and any bytes are one (`Pod`); read unaligned.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// A map whose keys are `K` and values are `V`, not one of the per-CPU kinds.
#[derive(Debug)]
pub struct Map<K, V> {
    fd: OwnedFd,
    info: MapInfo,
    types: PhantomData<fn() -> (K, V)>,
}

/// What the commands on one element read.
#[repr(C)]
pub(crate) struct ElemAttr {
    pub(crate) map_fd: u32,
    pub(crate) pad: u32,
    pub(crate) key: u64,
    /// Value, or the next key.
    pub(crate) value: u64,
    pub(crate) flags: u64,
}

/// What the commands on many elements read.
#[repr(C)]
pub(crate) struct BatchAttr {
    pub(crate) in_batch: u64,
    pub(crate) out_batch: u64,
    pub(crate) keys: u64,
    pub(crate) values: u64,
    pub(crate) count: u32,
    pub(crate) map_fd: u32,
    pub(crate) elem_flags: u64,
    pub(crate) flags: u64,
}

/// `BPF_MAP_TYPE_{PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH, CGROUP_STORAGE_PERCPU}`: a value for
/// each CPU at once.
const PER_CPU: [u32; 4] = [5, 6, 10, 21];

/// `BPF_NOEXIST`
const NOEXIST: u64 = 1;

impl<K: Pod, V: Pod> Map<K, V> {
    /// Takes the descriptor, if the map's layout is that of the types.
    pub fn new(fd: OwnedFd) -> Result<Self, Error> {
        let info = map_info(&fd)?;
        size("the key's size", size_of::<K>(), info.key_size)?;
        size("the value's size", size_of::<V>(), info.value_size)?;
        if PER_CPU.contains(&info.kind) {
            return Err(Error::Layout {
                what: "the map's type",
                expected: 1,
                found: info.kind.into(),
            });
        }
        Ok(Self {
            fd,
            info,
            types: PhantomData,
        })
    }

    /// What the kernel told when the map was opened.
    #[must_use]
    pub fn info(&self) -> &MapInfo {
        &self.info
    }

    pub(crate) fn elem(
        &self,
        command: Command,
        key: u64,
        value: u64,
        flags: u64,
    ) -> Result<(), Error> {
        let mut attr = ElemAttr {
            map_fd: raw(&self.fd),
            pad: 0,
            key,
            value,
            flags,
        };
        // SAFETY: the layout of the element commands; the callers below pass pointers to a live `K`
        // (or null) and to a live `V` or `K`, whose sizes were compared with the map's.
        unsafe { bpf(command, &mut attr) }.map(drop)
    }

    /// The value of `key`, or `None`.
    pub fn get(&self, key: &K) -> Result<Option<V>, Error> {
        let mut value = MaybeUninit::<V>::zeroed();
        match self.elem(Command::MapLookup, ptr(key), ptr(value.as_mut_ptr()), 0) {
            // SAFETY: the kernel has written all of it; any bytes are a `V` (`Pod`).
            Ok(()) => Ok(Some(unsafe { value.assume_init() })),
            Err(e) if e.errno() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Inserts or overwrites.
    pub fn set(&self, key: &K, value: &V) -> Result<(), Error> {
        self.elem(Command::MapUpdate, ptr(key), ptr(value), 0)
    }

    /// Deletes; false if there was none.
    pub fn delete(&self, key: &K) -> Result<bool, Error> {
        match self.elem(Command::MapDelete, ptr(key), 0, 0) {
            Ok(()) => Ok(true),
            Err(e) if e.errno() == Some(libc::ENOENT) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Inserts; false if there is one already.
    pub fn insert_new(&self, key: &K, value: &V) -> Result<bool, Error> {
        match self.elem(Command::MapUpdate, ptr(key), ptr(value), NOEXIST) {
            Ok(()) => Ok(true),
            Err(e) if e.errno() == Some(libc::EEXIST) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Deletes, and returns what was there (a hash map, Linux 5.14).
    pub fn take(&self, key: &K) -> Result<Option<V>, Error> {
        let mut value = MaybeUninit::<V>::zeroed();
        match self.elem(Command::MapTake, ptr(key), ptr(value.as_mut_ptr()), 0) {
            // SAFETY: the kernel has written all of it; any bytes are a `V` (`Pod`).
            Ok(()) => Ok(Some(unsafe { value.assume_init() })),
            Err(e) if e.errno() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// One batch command over `keys` (and `values`, as many, or none); returns how many were done.
    fn batch(&self, command: Command, keys: &[K], values: Option<&[V]>) -> (usize, Option<Error>) {
        let count = values.map_or(keys.len(), |v| v.len().min(keys.len()));
        let mut attr = BatchAttr {
            in_batch: 0,
            out_batch: 0,
            keys: ptr(keys.as_ptr()),
            values: values.map_or(0, |v| ptr(v.as_ptr())),
            count: u32::try_from(count).unwrap_or(u32::MAX),
            map_fd: raw(&self.fd),
            elem_flags: 0,
            flags: 0,
        };
        let asked = attr.count;
        // SAFETY: the layout of the batch commands; both slices are live, have at least `count`
        // elements, and their elements' sizes are the map's. These two commands only read
        // them.
        match unsafe { bpf(command, &mut attr) } {
            Ok(_) => (asked as usize, None),
            // The kernel writes the number done back, except where it failed before the first one.
            Err(e) => (
                if attr.count < asked {
                    attr.count as usize
                } else {
                    0
                },
                Some(e),
            ),
        }
    }

    /// Inserts or overwrites many; E2BIG where the map is full.
    pub fn set_all(&self, keys: &[K], values: &[V]) -> Done {
        let total = keys.len().min(values.len());
        let mut count = 0;
        while count < total {
            let (n, error) = self.batch(
                Command::MapUpdateBatch,
                &keys[count..],
                Some(&values[count..]),
            );
            count += n;
            if error.as_ref().is_some_and(lacks_batches) {
                return self.set_one_by_one(keys, values, count);
            }
            // A failed batch that did nothing may have failed as a batch (no memory for its
            // buffers): the first element alone tells.
            if error.is_some() && n == 0 {
                match self.set(&keys[count], &values[count]) {
                    Ok(()) => count += 1,
                    Err(e) => {
                        return Done {
                            count,
                            error: Some(e),
                        };
                    }
                }
            }
        }
        Done { count, error: None }
    }

    fn set_one_by_one(&self, keys: &[K], values: &[V], from: usize) -> Done {
        for (i, (k, v)) in keys.iter().zip(values).enumerate().skip(from) {
            if let Err(e) = self.set(k, v) {
                return Done {
                    count: i,
                    error: Some(e),
                };
            }
        }
        Done {
            count: keys.len().min(values.len()),
            error: None,
        }
    }

    /// Deletes many; a missing key counts as done.
    pub fn delete_all(&self, keys: &[K]) -> Done {
        let mut count = 0;
        while count < keys.len() {
            let (n, error) = self.batch(Command::MapDeleteBatch, &keys[count..], None);
            count += n;
            match error {
                None => {}
                // The batch stops at a missing key, and a type without batches at the first: the
                // element alone tells.
                Some(e) => {
                    let rest = if lacks_batches(&e) {
                        keys.len() - count
                    } else {
                        1
                    };
                    for key in keys[count..].iter().take(rest) {
                        if let Err(e) = self.delete(key) {
                            return Done {
                                count,
                                error: Some(e),
                            };
                        }
                        count += 1;
                    }
                }
            }
        }
        Done { count, error: None }
    }
}

impl<K, V> AsFd for Map<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(crate) fn lacks_batches(e: &Error) -> bool {
    matches!(e.errno(), Some(ENOTSUPP | libc::EOPNOTSUPP))
}

/// Compares a type's size with the map's.
pub(crate) fn size(what: &'static str, ours: usize, kernels: u32) -> Result<(), Error> {
    if ours == kernels as usize {
        Ok(())
    } else {
        Err(Error::Layout {
            what,
            expected: ours as u64,
            found: kernels.into(),
        })
    }
}
