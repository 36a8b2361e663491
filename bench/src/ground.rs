//! Where all of it happens: a namespace whose server answers on every backend address, and veth
//! pairs that lead to it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use testbed::{cgroup::Cgroup, netns::Netns, poll, process::Process, sandbox::Sandbox};

use crate::{
    SERVER, server,
    services::{BACKENDS, BACKENDS_V6, VIPS, VIPS_V6},
    wire::Where,
    worker,
};

const START: Duration = Duration::from_secs(10);

/// Gone with this value.
pub(crate) struct Ground {
    _server: Process,
    netns: Netns,
    /// By which the server goes, too, when the run is broken off.
    cgroup: Cgroup,
    _files: TempDir,
    links: std::cell::Cell<u8>,
}

impl Ground {
    /// A server that listens.
    pub(crate) fn new() -> Result<Self> {
        let netns = Netns::new("backends")?;
        // Every address of the network is this namespace's own.
        netns.ip(&format!(
            "route add local {BACKENDS} dev lo\nroute add local {BACKENDS_V6} dev lo\n"
        ))?;
        let files = tempfile::Builder::new()
            .prefix(&testbed::name::unique("server"))
            .tempdir()
            .context("make a folder")?;
        let cgroup = Cgroup::new("server")?;
        let place = Sandbox {
            netns: Some(netns.path()),
            cgroup: Some(cgroup.path().to_owned()),
            resolv_conf: None,
        };
        let words = worker::words(SERVER)?;
        let server = Process::start(&place, &words, &files.path().join("server.log"))?;
        poll::until_true(START, "the server listens", || {
            Ok(server.said()?.contains(server::READY))
        })?;
        Ok(Self {
            _server: server,
            netns,
            cgroup,
            _files: files,
            links: std::cell::Cell::new(0),
        })
    }

    /// Joins a namespace by a device `bench`; backends, and VIPs that no balancer translates, are
    /// routed there.
    pub(crate) fn plug(&self, netns: &Netns) -> Result<()> {
        let n = self.links.get() + 1;
        self.links.set(n);
        let name = netns.name();
        self.netns.ip(&format!(
            "link add link{n} type veth peer name bench netns {name}\n\
             link set link{n} up\naddr add 10.1.{n}.1/24 dev link{n}\n\
             addr add fd66:1:{n}::1/64 dev link{n} nodad\n"
        ))?;
        netns.ip(&format!(
            "link set bench up\naddr add 10.1.{n}.2/24 dev bench\n\
             route add {BACKENDS} via 10.1.{n}.1\nroute add {VIPS} via 10.1.{n}.1\n\
             addr add fd66:1:{n}::2/64 dev bench nodad\n\
             route add {BACKENDS_V6} via fd66:1:{n}::1\nroute add {VIPS_V6} via fd66:1:{n}::1\n"
        ))
    }

    /// Where the server is. A client that waits here keeps no other namespace alive.
    pub(crate) fn sandbox(&self) -> Where {
        Where {
            netns: self.netns.path(),
            cgroup: self.cgroup.path().to_owned(),
        }
    }

    /// Datagrams that have reached a socket here, whether or not it had room for them.
    pub(crate) fn datagrams(&self) -> Result<u64> {
        let read = |name: &str| {
            let path = format!("/proc/thread-self/net/{name}");
            std::fs::read_to_string(&path).with_context(|| format!("read {path}"))
        };
        let (v4, v6) = self.netns.block(|| Ok((read("snmp")?, read("snmp6")?)))?;
        let mut lines = v4.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = (
            lines.next().unwrap_or_default().split(' '),
            lines.next().unwrap_or_default().split(' '),
        );
        let of_v4 = names.zip(values);
        let of_v6 = v6.lines().filter_map(|line| line.split_once('\t'));
        let wanted = [
            "InDatagrams",
            "RcvbufErrors",
            "Udp6InDatagrams",
            "Udp6RcvbufErrors",
        ];
        let found: Vec<u64> = of_v4
            .chain(of_v6)
            .filter(|(name, _)| wanted.contains(&name.trim()))
            .map(|(_, value)| value.trim().parse())
            .collect::<Result<_, _>>()
            .context("a counter is a number")?;
        anyhow::ensure!(
            found.len() == wanted.len(),
            "the kernel counts no datagrams"
        );
        Ok(found.iter().sum())
    }
}
