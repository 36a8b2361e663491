//! Entries of maps that the kernel keeps by use (`BPF_MAP_TYPE_LRU_HASH`).
//!
//! A full one takes the room for a new entry from those that nobody has looked up since they were
//! written, and if all others were (flows whose answers have come), that is the newest: it was gone
//! before its answer. So an entry is looked up once when it is made, which counts as a use, and waits
//! behind all that are older.

use aya_ebpf::btf_maps::LruHashMap;

/// Writes an entry; `how` is one of `BPF_ANY`, `BPF_NOEXIST` and `BPF_EXIST`. The error is the
/// kernel's, negative.
#[inline(always)]
pub fn insert<K, V, const N: usize, const F: usize>(
    map: &LruHashMap<K, V, N, F>,
    key: &K,
    value: &V,
    how: u32,
) -> Result<(), i32> {
    map.insert(key, value, u64::from(how))?;
    let _ = map.get_ptr_mut(key);
    Ok(())
}
