//! Arrays that are mapped into memory window by window.

use std::fs;

use anyhow::{Result, ensure};
use lb_sys::{Map, MappedArray};

/// Twelve windows and a piece of one; see `lb-sys/src/mapped.rs`.
const ELEMENTS: u32 = 12 * 8192 + 77;

#[test]
fn a_large_array_is_read_and_written_everywhere_and_mapped_in_a_small_part() -> Result<()> {
    let fd = lb_sys::create_map(lb_sys::MapInfo {
        kind: 2,
        key_size: 4,
        value_size: 40,
        max_entries: ELEMENTS,
        flags: 1 << 10,
        ..lb_sys::MapInfo::default()
    })?;
    // A size that no other array of this process has.
    let array: MappedArray<[u64; 5]> = MappedArray::new(&fd, true)?;
    let map: Map<u32, [u64; 5]> = Map::new(fd)?;
    let value = |index: u32| [1, 2, 3, 4, 5].map(|n| n * u64::from(index));
    // Up, down, and to and fro, so that windows go and come again.
    let far = (0..ELEMENTS / 2).flat_map(|n| [n, ELEMENTS - 1 - n]);
    for index in (0..ELEMENTS).step_by(31).chain(far.step_by(17)) {
        array.store(index, &value(index))?;
        ensure!(array.load(index)? == value(index), "element {index}");
    }
    for index in (0..ELEMENTS).step_by(31) {
        ensure!(map.get(&index)? == Some(value(index)), "element {index}");
        ensure!(array.load(index)? == value(index), "element {index}");
    }
    ensure!(array.load(ELEMENTS).is_err() && array.store(ELEMENTS, &value(0)).is_err());
    let windows = mappings(8192 * 40)?;
    ensure!((1..=4).contains(&windows), "{windows} windows are mapped");
    Ok(())
}

#[test]
fn threads_that_share_an_array_get_each_their_own_element() -> Result<()> {
    let fd = lb_sys::create_map(lb_sys::MapInfo {
        kind: 2,
        key_size: 4,
        value_size: 8,
        max_entries: ELEMENTS,
        flags: 1 << 10,
        ..lb_sys::MapInfo::default()
    })?;
    let array: MappedArray<u64> = MappedArray::new(&fd, true)?;
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4)
            .map(|who| {
                let array = &array;
                scope.spawn(move || -> Result<()> {
                    for index in (who..ELEMENTS).step_by(4).step_by(101) {
                        array.store(index, &u64::from(index))?;
                        array.add(index, 1)?;
                        ensure!(array.load(index)? == u64::from(index) + 1, "{index}");
                    }
                    Ok(())
                })
            })
            .collect();
        all.into_iter().try_for_each(|one| {
            one.join()
                .unwrap_or_else(|_| anyhow::bail!("a thread panicked"))
        })
    })
}

/// Parts of arrays of so many bytes in this process.
fn mappings(bytes: u64) -> Result<usize> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let size = |line: &str| -> Option<u64> {
        let (from, rest) = line.split_once('-')?;
        let (to, _) = rest.split_once(' ')?;
        Some(u64::from_str_radix(to, 16).ok()? - u64::from_str_radix(from, 16).ok()?)
    };
    let arrays = maps.lines().filter(|line| line.ends_with("bpf-map"));
    Ok(arrays.filter(|line| size(line) == Some(bytes)).count())
}
