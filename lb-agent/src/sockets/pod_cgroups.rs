//! The kubelet's cgroups of pods, and the network namespaces of the processes in them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::netns::{self, Identity};

/// How far below the root a pod's cgroup is looked for: `kubelet.slice/kubelet-kubepods.slice/…` of
/// a node in a container is the deepest known.
const DEEPEST: usize = 6;

/// The network namespace of each pod whose processes can be seen, by what its cgroup is called. A
/// pod's first process is the one that holds its namespaces. In a pid namespace of its own the agent
/// sees none.
pub(super) fn namespaces(root: &Path) -> BTreeMap<String, Identity> {
    let mut found = BTreeMap::new();
    walk(root, DEEPEST, &mut |uid, dir| {
        let mut first = None;
        lowest_pid(dir, &mut first);
        let ns = first.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
        if let Some(id) = ns.and_then(|path| netns::identity(&path)) {
            found.insert(uid, id);
        }
    });
    found
}

/// Calls `pod` with each pod's cgroup; what is below one is not walked.
fn walk(dir: &Path, deeper: usize, pod: &mut impl FnMut(String, &Path)) {
    for (name, path) in folders(dir) {
        if let Some(uid) = uid(&name) {
            pod(uid, &path);
        } else if deeper > 0 {
            walk(&path, deeper - 1, pod);
        }
    }
}

/// Of the processes in a cgroup and below it.
fn lowest_pid(dir: &Path, lowest: &mut Option<u32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    // 0 is a process of another pid namespace.
    let pids = text.lines().filter_map(|line| line.parse().ok());
    for pid in pids.filter(|pid| *pid != 0) {
        *lowest = Some(lowest.map_or(pid, |known| known.min(pid)));
    }
    for (_, path) in folders(dir) {
        lowest_pid(&path, lowest);
    }
}

fn folders(dir: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
}

/// The UID in the name of a pod's cgroup: `pod<uid>` by the kubelet's driver `cgroupfs`, and
/// `kubepods-burstable-pod<uid>.slice`, dashes as underscores, by its driver `systemd`.
fn uid(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    let is_one = |c: char| c.is_ascii_hexdigit() || c == '-';
    (uid.len() >= 32 && uid.chars().all(is_one)).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "5bd40e4c-7a6c-4a35-9c0e-d41cb1f0a0d1";

    #[test]
    fn both_drivers_name_the_pod() {
        let slice = |qos: &str| format!("kubepods{qos}-pod{}.slice", UID.replace('-', "_"));
        for name in [
            format!("pod{UID}"),
            slice("-burstable"),
            slice(""),
            format!("kubelet-{}", slice("-besteffort")),
        ] {
            assert_eq!(uid(&name).as_deref(), Some(UID), "{name}");
        }
        // Of a static pod: the hash of its file.
        let hash = "0123456789abcdef0123456789abcdef";
        assert_eq!(uid(&format!("pod{hash}")).as_deref(), Some(hash));
        for name in [
            "kubepods.slice",
            "kubepods-burstable.slice",
            "podman.slice",
            "pods",
            "system.slice",
            "machine-podruntime.slice",
        ] {
            assert_eq!(uid(name), None, "{name}");
        }
    }

    #[test]
    fn the_lowest_pid_of_a_pods_cgroups_counts() {
        let root = tempfile::tempdir().unwrap();
        let pod = root.path().join(format!("kubepods/burstable/pod{UID}"));
        fs::create_dir_all(pod.join("container")).unwrap();
        fs::write(pod.join("cgroup.procs"), "").unwrap();
        fs::write(pod.join("container/cgroup.procs"), "0\n912\n77\n").unwrap();
        let mut seen = Vec::new();
        walk(root.path(), DEEPEST, &mut |uid, dir| {
            let mut lowest = None;
            lowest_pid(dir, &mut lowest);
            seen.push((uid, lowest));
        });
        assert_eq!(seen, [(UID.to_owned(), Some(77))]);
    }
}
