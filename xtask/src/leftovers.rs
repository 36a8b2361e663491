//! What tests and demos may have left on the machine, known by the prefix `lbt-`, and its removal.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::setup::{cgroup1_roots, cgroup2_root};

/// What every name made by a test or a demo begins with.
const PREFIX: &str = "lbt-";

/// One thing that should be gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Leftover {
    /// What it is, which is also the order of removal: processes hold the rest.
    kind: Kind,
    /// Where it is.
    path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Cgroup,
    /// Of v1: what was in it has been killed with its cgroup.
    Limits,
    Namespace,
    Interface,
    Pins,
    Files,
}

impl std::fmt::Display for Leftover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Cgroup => "cgroup",
            Kind::Limits => "cgroup of v1",
            Kind::Namespace => "network namespace",
            Kind::Interface => "network device",
            Kind::Pins => "pinned eBPF objects",
            Kind::Files => "files",
        };
        write!(f, "{kind} {}", self.path.display())
    }
}

/// Everything with our prefix whose maker no longer runs, in the order of removal.
pub(crate) fn find() -> Vec<Leftover> {
    let mut places = vec![
        (Kind::Namespace, PathBuf::from("/run/netns")),
        (Kind::Interface, PathBuf::from("/sys/class/net")),
        (Kind::Pins, PathBuf::from("/sys/fs/bpf")),
        (Kind::Files, std::env::temp_dir()),
    ];
    places.extend(cgroup2_root().map(|root| (Kind::Cgroup, root)));
    let limits = cgroup1_roots().into_iter();
    places.extend(limits.map(|root| (Kind::Limits, root)));
    let mut found: Vec<_> = places
        .into_iter()
        .flat_map(|(kind, place)| {
            names_in(&place)
                .into_iter()
                .filter(|name| is_abandoned(name, is_running))
                .map(move |name| Leftover {
                    kind,
                    path: place.join(name),
                })
        })
        .collect();
    found.sort();
    found
}

/// Removes the thing, and the processes that live in it.
pub(crate) fn remove(leftover: &Leftover) -> Result<()> {
    let Leftover { kind, path } = leftover;
    let done = match kind {
        Kind::Cgroup => remove_cgroup(path),
        Kind::Limits => remove_emptied(path),
        Kind::Namespace => {
            kill_inside(path);
            ip(&["netns", "delete"], path)
        }
        Kind::Interface => ip(&["link", "delete"], path),
        Kind::Pins | Kind::Files if path.is_dir() => fs::remove_dir_all(path).map_err(Into::into),
        Kind::Pins | Kind::Files => fs::remove_file(path).map_err(Into::into),
    };
    done.with_context(|| format!("remove {leftover}"))
}

fn names_in(place: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(place) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

/// `lbt-1234-node1` belongs to process 1234; a name without a number belongs to no process.
fn is_abandoned(name: &str, is_running: impl Fn(i32) -> bool) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return false;
    };
    let maker = rest
        .split(['-', '.', '_'])
        .find_map(|word| word.parse().ok());
    !maker.is_some_and(is_running)
}

/// One that has ended and that nobody asked for (`Z` in proc(5)) does not run.
fn is_running(process: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn ip(verb: &[&str], path: &Path) -> Result<()> {
    let name = path.file_name().context("a path without a name")?;
    let output = Command::new("ip")
        .args(verb)
        .arg(name)
        .output()
        .context("run ip")?;
    if !output.status.success() {
        bail!(
            "ip says: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Ends every process whose network namespace is the one bound at `path`.
fn kill_inside(path: &Path) {
    let Ok(namespace) = fs::metadata(path) else {
        return;
    };
    for process in names_in(Path::new("/proc"))
        .iter()
        .filter_map(|name| name.parse::<i32>().ok())
    {
        let same = fs::metadata(format!("/proc/{process}/ns/net"))
            .is_ok_and(|own| (own.dev(), own.ino()) == (namespace.dev(), namespace.ino()));
        if same {
            // It may have ended meanwhile, which is what is wanted.
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
    }
}

/// Kills what is in the group and below (Linux 5.14), then removes the folders from the leaves up.
fn remove_cgroup(path: &Path) -> Result<()> {
    fs::write(path.join("cgroup.kill"), "1").context("write cgroup.kill")?;
    remove_emptied(path)
}

fn remove_emptied(path: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match remove_folders(path) {
            Ok(()) => return Ok(()),
            // The killed are still on their way out.
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(error.into()),
        }
    }
}

fn remove_folders(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_folders(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_living_process_made_is_no_leftover() {
        let lives = |process| process == 7;
        assert!(!is_abandoned("lbt-7-node", lives));
        assert!(is_abandoned("lbt-8-node", lives));
        assert!(is_abandoned("lbt-demo", lives));
        assert!(!is_abandoned("cni-8-node", lives));
    }
}
