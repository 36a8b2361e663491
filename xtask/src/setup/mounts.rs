//! The reading of /proc/self/mountinfo: where the kernel's own filesystems are. Mounts nothing.

use std::{fs, path::PathBuf};

/// The mount points of one kind of filesystem, in the order of mounting.
pub(crate) fn mounted(kind: &str) -> Vec<PathBuf> {
    points(
        &fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
        kind,
    )
}

/// The root of the cgroup v2 tree; `/sys/fs/cgroup` or, in the hybrid layout, a folder in it.
pub(crate) fn cgroup2_root() -> Option<PathBuf> {
    mounted("cgroup2").into_iter().next()
}

/// The hierarchies of cgroup v1, which the hybrid layout has beside it.
pub(crate) fn cgroup1_roots() -> Vec<PathBuf> {
    mounted("cgroup")
}

fn points(mountinfo: &str, kind: &str) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| {
            // "36 35 98:0 /root /mount/point options [optional] - kind source options"
            let (before, after) = line.split_once(" - ")?;
            let point = before.split(' ').nth(4)?;
            (after.split(' ').next()? == kind).then(|| PathBuf::from(point))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 28 0:27 / /sys/fs/cgroup rw shared:5 - tmpfs tmpfs rw,mode=755
32 31 0:28 / /sys/fs/cgroup/unified rw shared:6 master:1 - cgroup2 cgroup2 rw
33 28 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
40 28 0:33 / /sys/fs/bpf rw - bpf bpf rw,mode=700
";

    #[test]
    fn a_filesystem_is_found_by_its_kind_wherever_it_is() {
        assert_eq!(
            points(HYBRID, "cgroup2"),
            [PathBuf::from("/sys/fs/cgroup/unified")]
        );
        assert_eq!(
            points(HYBRID, "cgroup"),
            [PathBuf::from("/sys/fs/cgroup/cpu")]
        );
        assert_eq!(points(HYBRID, "bpf"), [PathBuf::from("/sys/fs/bpf")]);
        assert_eq!(points(HYBRID, "debugfs"), Vec::<PathBuf>::new());
    }
}
