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

/// What is found.
#[derive(Debug, Default)]
pub(super) struct Homes {
    /// The network namespace of each pod whose processes can be seen, by what its cgroup is called.
    pub(super) found: BTreeMap<String, Identity>,
    /// There are processes, and none of them can be seen: they are of another pid namespace.
    pub(super) are_hidden: bool,
}

/// A pod's first process is the one that holds its namespaces.
pub(super) fn namespaces(root: &Path) -> Homes {
    let mut homes = Homes::default();
    let (mut seen, mut hidden) = (false, false);
    walk(root, DEEPEST, &mut |uid, dir| {
        let mut processes = Processes::default();
        processes.add(dir, DEEPEST);
        seen |= processes.lowest.is_some();
        hidden |= processes.are_hidden;
        let ns = processes.lowest.map(netns::file_of);
        if let Some(id) = ns.and_then(|path| netns::identity(&path)) {
            homes.found.insert(uid, id);
        }
    });
    homes.are_hidden = hidden && !seen;
    homes
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

/// Those of a pod.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Processes {
    lowest: Option<u32>,
    are_hidden: bool,
}

impl Processes {
    /// Adds those in a cgroup and so many levels below it.
    fn add(&mut self, dir: &Path, deeper: usize) {
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        for pid in text.lines().filter_map(|line| line.parse().ok()) {
            // 0 is a process of another pid namespace.
            if pid == 0 {
                self.are_hidden = true;
            } else {
                self.lowest = Some(self.lowest.map_or(pid, |known| known.min(pid)));
            }
        }
        if deeper > 0 {
            for (_, path) in folders(dir) {
                self.add(&path, deeper - 1);
            }
        }
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
            let mut processes = Processes::default();
            processes.add(dir, DEEPEST);
            seen.push((uid, processes.lowest));
        });
        assert_eq!(seen, [(UID.to_owned(), Some(77))]);
    }

    #[test]
    fn hidden_processes_are_told_from_none() {
        let root = tempfile::tempdir().unwrap();
        let pod = root.path().join(format!("kubepods/pod{UID}"));
        fs::create_dir_all(&pod).unwrap();
        for (procs, are_hidden) in [("", false), ("0\n0\n", true), ("0\n1\n", false)] {
            fs::write(pod.join("cgroup.procs"), procs).unwrap();
            assert_eq!(namespaces(root.path()).are_hidden, are_hidden, "{procs:?}");
        }
    }
}
