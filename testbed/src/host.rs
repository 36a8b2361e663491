//! A sandbox with a network namespace, a cgroup and a helper: what a pod, a node's processes and a
//! client have in common.

use std::{ffi::OsStr, fs, ops::Deref, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    cgroup::Cgroup,
    netns::Netns,
    probe::Probe,
    process::{self, Output, Process},
    sandbox::Sandbox,
};

/// Programs and sockets run in it; it goes with this value.
#[derive(Debug)]
pub struct Host {
    /// First, so that it ends before its sandbox goes.
    probe: Probe,
    sandbox: Sandbox,
    cgroup: Cgroup,
    netns: Netns,
}

/// Sockets are made on a host as on a helper.
impl Deref for Host {
    type Target = Probe;

    fn deref(&self) -> &Probe {
        &self.probe
    }
}

impl Host {
    /// Of a namespace and a cgroup.
    pub fn new(netns: Netns, cgroup: Cgroup) -> Result<Self> {
        let sandbox = Sandbox {
            netns: Some(netns.path()),
            cgroup: Some(cgroup.path().to_owned()),
            resolv_conf: None,
        };
        let probe = Probe::start(&sandbox)?;
        Ok(Self {
            probe,
            sandbox,
            cgroup,
            netns,
        })
    }

    /// Its network namespace.
    #[must_use]
    pub const fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its cgroup.
    #[must_use]
    pub const fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Where its programs run.
    #[must_use]
    pub const fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Its programs see this file as `/etc/resolv.conf` from now on.
    pub fn resolve_by(&mut self, resolv_conf: &Path) {
        self.sandbox.resolv_conf = Some(resolv_conf.to_owned());
    }

    /// Runs a program to its end; its standard output, or an error with what it said.
    pub fn run<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<String> {
        process::run(&self.sandbox, words)
    }

    /// Runs a program to its end, whatever that is.
    pub fn output<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Output> {
        process::output(&self.sandbox, words)
    }

    /// Starts a program, both its outputs to the end of `log`.
    pub fn spawn<S: AsRef<OsStr>>(&self, words: &[S], log: &Path) -> Result<Process> {
        Process::start(&self.sandbox, words, log)
    }

    /// Runs the closure in its namespace; see [`Netns::block`].
    pub fn block<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.netns.block(work)
    }

    /// A counter of the kernel's extended TCP statistics, as in `nstat -az TcpExt…`.
    pub fn tcp_ext(&self, name: &str) -> Result<u64> {
        let text = self.block(|| {
            fs::read_to_string("/proc/thread-self/net/netstat").context("read netstat")
        })?;
        let mut lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("TcpExt: "));
        let (names, values) = (
            lines.next().unwrap_or_default(),
            lines.next().unwrap_or_default(),
        );
        let found = names
            .split(' ')
            .zip(values.split(' '))
            .find(|(this, _)| *this == name);
        found
            .with_context(|| format!("the kernel counts no {name}"))?
            .1
            .parse()
            .context("a counter is a number")
    }
}
