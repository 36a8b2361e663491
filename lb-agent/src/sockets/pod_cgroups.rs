//! The kubelet's cgroups of pods, and the network namespaces of the processes in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use procfs::{FromRead as _, process::Stat};

use super::netns::Identity;

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

/// Where the processes of pods are, by the `namespace` of each; `None`: in the host's, as a monitor of
/// the container runtime may be, or it is not known.
pub(super) fn namespaces(root: &Path, namespace: impl Fn(u32) -> Option<Identity>) -> Homes {
    let mut homes = Homes::default();
    let (mut seen, mut hidden) = (false, false);
    walk(root, DEEPEST, &mut |uid, dir| {
        let mut processes = Processes::default();
        processes.add(dir, DEEPEST);
        seen |= !processes.pids.is_empty();
        hidden |= processes.are_hidden;
        if let Some(id) = home(&processes.pids, &namespace, started) {
            homes.found.insert(uid, id);
        }
    });
    homes.are_hidden = hidden && !seen;
    homes
}

/// A pod's oldest process is the one that holds its namespaces; others may have gone into one of their
/// own. Its number says nothing: numbers start over.
fn home(
    pids: &[u32],
    namespace: impl Fn(u32) -> Option<Identity>,
    started: impl Fn(u32) -> Option<u64>,
) -> Option<Identity> {
    let places = pids.iter().filter_map(|pid| Some((*pid, namespace(*pid)?)));
    let places: Vec<(u32, Identity)> = places.collect();
    let ids: BTreeSet<Identity> = places.iter().map(|(_, id)| *id).collect();
    if ids.len() == 1 {
        return ids.first().copied();
    }
    let started = places
        .iter()
        .filter_map(|(pid, id)| Some((started(*pid)?, *id)));
    started.min().map(|(_, id)| id)
}

/// When, in clock ticks since the machine was started; `None` if the process is gone.
fn started(pid: u32) -> Option<u64> {
    let stat = Stat::from_file(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.starttime)
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
#[derive(Debug, Default)]
struct Processes {
    pids: Vec<u32>,
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
                self.pids.push(pid);
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
    fn all_processes_of_a_pods_cgroups_count() {
        let root = tempfile::tempdir().unwrap();
        let pod = root.path().join(format!("kubepods/burstable/pod{UID}"));
        fs::create_dir_all(pod.join("container")).unwrap();
        fs::write(pod.join("cgroup.procs"), "").unwrap();
        fs::write(pod.join("container/cgroup.procs"), "0\n912\n77\n").unwrap();
        let mut seen = Vec::new();
        walk(root.path(), DEEPEST, &mut |uid, dir| {
            let mut processes = Processes::default();
            processes.add(dir, DEEPEST);
            seen.push((uid, processes.pids));
        });
        assert_eq!(seen, [(UID.to_owned(), vec![912, 77])]);
    }

    #[test]
    fn a_pod_is_where_its_oldest_process_is() {
        let (pod, inner) = ((4, 1), (4, 2));
        // 77 came after the numbers had started over; 5 is of the host, and 6 is gone.
        let namespace = |pid| match pid {
            912 => Some(pod),
            6 | 77 | 78 => Some(inner),
            _ => None,
        };
        let started = |pid| (pid != 6).then_some(if pid == 912 { 100 } else { 200 });
        let home = |pids: &[u32]| home(pids, namespace, started);
        assert_eq!(home(&[5, 6, 77, 78, 912]), Some(pod));
        assert_eq!(home(&[5, 77]), Some(inner));
        assert_eq!(home(&[5]), None);
    }

    #[test]
    fn the_kernel_says_when_a_process_started() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let (own, of_child) = (started(std::process::id()), started(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(own.is_some() && own <= of_child, "{own:?} {of_child:?}");
        assert_eq!(started(child.id()), None);
    }

    #[test]
    fn hidden_processes_are_told_from_none() {
        let root = tempfile::tempdir().unwrap();
        let pod = root.path().join(format!("kubepods/pod{UID}"));
        fs::create_dir_all(&pod).unwrap();
        for (procs, are_hidden) in [("", false), ("0\n0\n", true), ("0\n1\n", false)] {
            fs::write(pod.join("cgroup.procs"), procs).unwrap();
            assert_eq!(
                namespaces(root.path(), |_| None).are_hidden,
                are_hidden,
                "{procs:?}"
            );
        }
    }
}
