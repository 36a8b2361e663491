//! Per-CPU arrays: every CPU's value of an element. Owns their layout in user space, eight-byte
//! slots by possible CPU.

use std::os::fd::OwnedFd;

use aya::{Pod, util::nr_cpus};

use crate::{
    call::{Command, Error, bpf, ptr},
    map::{ElemAttr, size},
    object::{MapInfo, map_info, raw},
};

/// `BPF_MAP_TYPE_PERCPU_ARRAY`
const PERCPU_ARRAY: u32 = 6;

/// A per-CPU array of `V`, whose size is a multiple of eight.
#[derive(Debug)]
pub struct PerCpuArray<V> {
    fd: OwnedFd,
    info: MapInfo,
    cpus: usize,
    types: std::marker::PhantomData<fn() -> V>,
}

impl<V: Pod> PerCpuArray<V> {
    const CHECK: () = assert!(size_of::<V>() > 0 && size_of::<V>().is_multiple_of(8));

    /// Takes the descriptor, if the map's layout is that of the type.
    pub fn new(fd: OwnedFd) -> Result<Self, Error> {
        let () = Self::CHECK;
        let info = map_info(&fd)?;
        size("the value's size", size_of::<V>(), info.value_size)?;
        if info.kind != PERCPU_ARRAY {
            return Err(Error::Layout {
                what: "the map's type",
                expected: PERCPU_ARRAY.into(),
                found: info.kind.into(),
            });
        }
        let cpus = nr_cpus().map_err(|(call, source)| Error::Call { call, source })?;
        Ok(Self {
            fd,
            info,
            cpus,
            types: std::marker::PhantomData,
        })
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.info.max_entries
    }

    /// True for an array without elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element's value on each possible CPU.
    pub fn get(&self, index: u32) -> Result<Vec<V>, Error> {
        if index >= self.info.max_entries {
            return Err(Error::OutOfRange {
                index,
                len: self.info.max_entries,
            });
        }
        let mut values = Vec::<V>::with_capacity(self.cpus);
        let mut attr = ElemAttr {
            map_fd: raw(&self.fd),
            pad: 0,
            key: ptr(&raw const index),
            value: ptr(values.as_mut_ptr()),
            flags: 0,
        };
        // SAFETY: the layout of BPF_MAP_LOOKUP_ELEM; the kernel writes one value, rounded up to
        // eight bytes (which `V` is), for each possible CPU, for which there is room.
        unsafe { bpf(Command::MapLookup, &mut attr) }?;
        // SAFETY: written by the kernel; any bytes are a `V` (`Pod`).
        unsafe { values.set_len(self.cpus) };
        Ok(values)
    }

    /// Sets every CPU's value of the element to zeros. What a program adds at the same moment may
    /// survive or be lost.
    pub fn zero(&self, index: u32) -> Result<(), Error> {
        let zeros = vec![0_u64; self.cpus * (size_of::<V>() / 8)];
        // SAFETY: one value for each possible CPU, as many as there are.
        unsafe { self.write(index, ptr(zeros.as_ptr())) }
    }

    /// Sets the element's value on each possible CPU, as [`PerCpuArray::get`] returns them. What a
    /// program changes at the same moment may survive or be lost.
    pub fn set(&self, index: u32, values: &[V]) -> Result<(), Error> {
        size(
            "the number of CPUs",
            self.cpus,
            u32::try_from(values.len()).unwrap_or(0),
        )?;
        // SAFETY: one value for each possible CPU, as was compared.
        unsafe { self.write(index, ptr(values.as_ptr())) }
    }

    /// # Safety
    /// `values` points to so many live values as there are possible CPUs.
    unsafe fn write(&self, index: u32, values: u64) -> Result<(), Error> {
        if index >= self.info.max_entries {
            return Err(Error::OutOfRange {
                index,
                len: self.info.max_entries,
            });
        }
        let mut attr = ElemAttr {
            map_fd: raw(&self.fd),
            pad: 0,
            key: ptr(&raw const index),
            value: values,
            flags: 0,
        };
        // SAFETY: the layout of BPF_MAP_UPDATE_ELEM; the kernel reads one value for each possible
        // CPU: the caller's promise.
        unsafe { bpf(Command::MapUpdate, &mut attr) }.map(drop)
    }
}
