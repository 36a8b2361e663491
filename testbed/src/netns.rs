//! A network namespace: made, entered, configured, and removed with its value.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

use crate::name;

/// Where `ip netns` looks for them.
pub const DIR: &str = "/run/netns";

/// A network namespace that `ip netns` shows; it goes with this value, and the devices in it with
/// it.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// A new, empty one with its loopback device up.
    pub fn new(role: &str) -> Result<Self> {
        let name = name::unique(role);
        fs::create_dir_all(DIR).with_context(|| format!("create {DIR}"))?;
        let path = Path::new(DIR).join(&name);
        File::create_new(&path).with_context(|| format!("create {}", path.display()))?;
        // From here on Drop removes the file.
        let netns = Self { name };
        in_new_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .context("make a network namespace (are you root?)")?;
            mount(
                Some("/proc/thread-self/ns/net"),
                &path,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )
            .with_context(|| format!("mount a network namespace on {}", path.display()))
        })?;
        netns.sysctls(&[
            // Addresses are usable at once.
            ("net/ipv6/conf/all/accept_dad", "0"),
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/default/dad_transmits", "0"),
            ("net/ipv6/conf/default/router_solicitations", "0"),
            // The kernel's own defaults, whatever this machine's root namespace hands down.
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
        ])?;
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// As `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(DIR).join(&self.name)
    }

    /// Runs the closure on a thread inside. Sockets made there belong to this namespace, and to our
    /// own cgroup.
    pub fn block<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = self.path();
        in_new_thread(|| {
            let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
            setns(file, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("enter {}", path.display()))?;
            work()
        })
    }

    /// Runs lines of `ip -batch`: all of them, or an error that quotes the first that failed.
    pub fn ip(&self, lines: &str) -> Result<()> {
        self.batch(&[], lines)
    }

    /// The same with IPv6 for what says no family, such as `rule`.
    pub fn ip6(&self, lines: &str) -> Result<()> {
        self.batch(&["-6"], lines)
    }

    fn batch(&self, family: &[&str], lines: &str) -> Result<()> {
        let mut child = Command::new("ip")
            .args(family)
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start ip (package iproute2)")?;
        let mut stdin = child.stdin.take().context("no pipe to ip")?;
        stdin.write_all(lines.as_bytes()).context("write to ip")?;
        drop(stdin);
        let output = child.wait_with_output().context("wait for ip")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("ip in {}: {}\n{lines}", self.name, said.trim());
        }
        Ok(())
    }

    /// Writes below `/proc/sys`: pairs of path and value.
    pub fn sysctls(&self, pairs: &[(&str, &str)]) -> Result<()> {
        self.block(|| {
            for (key, value) in pairs {
                let path = Path::new("/proc/sys").join(key);
                fs::write(&path, value)
                    .with_context(|| format!("write {value} to {}", path.display()))?;
            }
            Ok(())
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.path());
    }
}

/// Removes the mount and the file; the namespace goes when its last process and socket have gone.
pub(crate) fn remove(path: &Path) {
    // Not mounted if its making failed half-way: then only the file is there.
    let _ = umount2(path, MntFlags::MNT_DETACH);
    if let Err(error) = fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        eprintln!("remove {}: {error}", path.display());
    }
}

/// A thread of its own, since namespaces belong to threads.
fn in_new_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(work)
            .join()
            .map_err(|_| anyhow!("a thread in a network namespace panicked"))?
    })
}
