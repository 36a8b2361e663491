//! A sandbox with a network namespace, a cgroup and a helper: what a pod, a node's processes and a
//! client have in common.

use std::{ffi::OsStr, fs, io, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    cgroup::Cgroup,
    netns::Netns,
    probe::{
        Answer, Ask, Crowd, CrowdPlan, Family, Flood, FloodPlan, Hammer, HammerPlan, Kind,
        Observation, Probe, Recorder, Sock,
    },
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

    /// kill -9 of its helper: the kernel alone closes its sockets.
    pub fn kill(&self) {
        self.probe.kill();
    }

    /// A new socket in its namespace and cgroup.
    pub fn socket(&self, kind: Kind, family: Family) -> io::Result<Sock> {
        self.probe.socket(kind, family)
    }

    /// A socket of the address's own family, connected to it.
    pub fn connect(&self, kind: Kind, to: SocketAddr) -> io::Result<Sock> {
        self.probe.connect(kind, to)
    }

    /// Connects, asks, closes.
    pub fn ask(&self, kind: Kind, to: SocketAddr) -> io::Result<Answer> {
        self.probe.ask(kind, to)
    }

    /// An echo server that goes on as long as the host; its number for [`Self::unlisten`].
    pub fn listen(&self, kind: Kind, addr: SocketAddr, name: &str) -> io::Result<u32> {
        self.probe.listen(kind, addr, name)
    }

    /// Ends an echo server; the connections that it has accepted stay.
    pub fn unlisten(&self, listener: u32) -> io::Result<()> {
        self.probe.unlisten(listener)
    }

    /// Opens connections in a loop until it is stopped.
    pub fn hammer(&self, plan: HammerPlan) -> io::Result<Hammer> {
        self.probe.hammer(plan)
    }

    /// An echo server for thousands of connections, which goes on as long as the host.
    pub fn listen_crowd(&self, kind: Kind, addr: SocketAddr, name: &str) -> io::Result<()> {
        self.probe.listen_crowd(kind, addr, name)
    }

    /// Opens many connections.
    pub fn crowd(&self, plan: CrowdPlan) -> io::Result<Crowd> {
        self.probe.crowd(plan)
    }

    /// Sends forged connections until it ends.
    pub fn flood(&self, plan: FloodPlan) -> io::Result<Flood> {
        self.probe.flood(plan)
    }

    /// Asks many questions, so many at a time; the answers in their order.
    pub fn survey(&self, asks: Vec<Ask>, threads: usize) -> io::Result<Vec<Observation>> {
        self.probe.survey(asks, threads)
    }

    /// Records frames until it is stopped.
    pub fn record(&self) -> io::Result<Recorder> {
        self.probe.record()
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
