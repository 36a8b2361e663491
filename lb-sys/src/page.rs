//! Maps read in pages, by BPF_MAP_LOOKUP_BATCH (Linux 5.6) and its tokens. Owns what is done where
//! a type or a moment has no batches: key after key.

use std::mem::MaybeUninit;

use aya::Pod;

use crate::{
    call::{Command, Error, bpf, ptr},
    map::{BatchAttr, Map, lacks_batches},
    object::raw,
};

/// Elements of one lookup batch where everything is read.
const CHUNK: usize = 4096;

/// Some of a map's elements, and where to go on.
#[derive(Debug)]
pub struct Page<K, V> {
    /// In no order.
    pub entries: Vec<(K, V)>,
    /// What to ask for next; `None` at the end.
    pub next: Option<Box<[u8]>>,
}

impl<K: Pod, V: Pod> Map<K, V> {
    /// Everything in it, in no order. A map that changes meanwhile may show an element twice or not
    /// at all.
    pub fn entries(&self) -> Result<Vec<(K, V)>, Error> {
        let mut all = Vec::new();
        let mut from = None;
        loop {
            let Page { entries, next } = self.page(from.as_deref(), CHUNK)?;
            all.extend(entries);
            match next {
                Some(token) => from = Some(token),
                None => return Ok(all),
            }
        }
    }

    /// About `count` elements from the token on. A hash is read bucket by bucket, each whole and
    /// once, so that an element that stands there all the time is read whatever changes beside
    /// it. Where there are no batches everything comes at once.
    pub fn page(&self, from: Option<&[u8]>, count: usize) -> Result<Page<K, V>, Error> {
        match self.batch_from(from, count) {
            Err(e) if lacks_batches(&e) || e.errno() == Some(libc::EINTR) => Ok(Page {
                entries: self.walk()?,
                next: None,
            }),
            other => other,
        }
    }

    fn batch_from(&self, from: Option<&[u8]>, count: usize) -> Result<Page<K, V>, Error> {
        // The token of a hash is a u32, of other types a key: room for both.
        let token = size_of::<K>().max(8);
        let mut given = vec![0u8; token];
        if let Some(from) = from {
            let n = from.len().min(token);
            given[..n].copy_from_slice(&from[..n]);
        }
        let mut next = vec![0u8; token];
        let mut chunk = count.max(1);
        loop {
            let mut keys = Vec::<K>::with_capacity(chunk);
            let mut values = Vec::<V>::with_capacity(chunk);
            let mut attr = BatchAttr {
                in_batch: from.map_or(0, |_| ptr(given.as_ptr())),
                out_batch: ptr(next.as_mut_ptr()),
                keys: ptr(keys.as_mut_ptr()),
                values: ptr(values.as_mut_ptr()),
                count: u32::try_from(chunk).unwrap_or(u32::MAX),
                map_fd: raw(self),
                elem_flags: 0,
                flags: 0,
            };
            // SAFETY: the layout of BPF_MAP_LOOKUP_BATCH; the kernel writes at most `count` keys
            // and values, for which there is room, and reads and writes tokens of at
            // most a key or four bytes.
            let result = unsafe { bpf(Command::MapLookupBatch, &mut attr) };
            let end = match result {
                Ok(_) => false,
                Err(e) if e.errno() == Some(libc::ENOENT) => true,
                // One bucket holds more than the chunk.
                Err(e) if e.errno() == Some(libc::ENOSPC) && chunk < (1 << 24) => {
                    chunk *= 2;
                    continue;
                }
                Err(e) => return Err(e),
            };
            let n = (attr.count as usize).min(chunk);
            // SAFETY: the kernel has written that many; any bytes are a `K` or `V` (`Pod`).
            unsafe {
                keys.set_len(n);
                values.set_len(n);
            }
            return Ok(Page {
                entries: keys.into_iter().zip(values).collect(),
                next: (!end).then(|| next.into_boxed_slice()),
            });
        }
    }

    fn next_key(&self, key: Option<&K>) -> Result<Option<K>, Error> {
        let mut next = MaybeUninit::<K>::zeroed();
        let from = key.map_or(0, |k| ptr(k));
        match self.elem(Command::MapNextKey, from, ptr(next.as_mut_ptr()), 0) {
            // SAFETY: the kernel has written all of it; any bytes are a `K` (`Pod`).
            Ok(()) => Ok(Some(unsafe { next.assume_init() })),
            Err(e) if e.errno() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn walk(&self) -> Result<Vec<(K, V)>, Error> {
        let mut all = Vec::new();
        let mut key = self.next_key(None)?;
        while let Some(k) = key {
            if let Some(v) = self.get(&k)? {
                all.push((k, v));
            }
            key = self.next_key(Some(&k))?;
        }
        Ok(all)
    }
}
