//! Owns where all of it happens: a namespace whose server answers on every backend address, and veth pairs that lead to it.
//! Knows nothing of what stands between client and server.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::cgroup::Cgroup;
use lb_tests::netns::Netns;
use lb_tests::place::Place;
use lb_tests::poll;
use lb_tests::process::Process;
use tempfile::TempDir;

use super::services::{BACKENDS, VIPS};
use crate::{SERVER, server, worker};

const START: Duration = Duration::from_secs(10);

/// Gone with this value.
pub(super) struct Ground {
    _server: Process,
    netns: Netns,
    /// By which the server goes, too, when the run is broken off.
    _cgroup: Cgroup,
    _files: TempDir,
    links: std::cell::Cell<u8>,
}

impl Ground {
    /// A server that listens.
    pub(super) fn new() -> Result<Self> {
        let netns = Netns::new("backends")?;
        // Every address of the network is this namespace's own.
        netns.ip(&format!("route add local {BACKENDS} dev lo"))?;
        let files = tempfile::Builder::new()
            .prefix(&lb_tests::name::unique("server"))
            .tempdir()
            .context("make a folder")?;
        let cgroup = Cgroup::new("server")?;
        let place = Place {
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
            _cgroup: cgroup,
            _files: files,
            links: std::cell::Cell::new(0),
        })
    }

    /// Joins a namespace by a device `bench`; backends, and VIPs that nobody translates, are routed there.
    pub(super) fn plug(&self, netns: &Netns) -> Result<()> {
        let n = self.links.get() + 1;
        self.links.set(n);
        let name = netns.name();
        self.netns.ip(&format!(
            "link add link{n} type veth peer name bench netns {name}\n\
             link set link{n} up\naddr add 10.1.{n}.1/24 dev link{n}\n"
        ))?;
        netns.ip(&format!(
            "link set bench up\naddr add 10.1.{n}.2/24 dev bench\n\
             route add {BACKENDS} via 10.1.{n}.1\nroute add {VIPS} via 10.1.{n}.1\n"
        ))
    }

    /// Datagrams that have reached a socket here, whether or not it had room for them.
    pub(super) fn datagrams(&self) -> Result<u64> {
        let text = self.netns.block(|| {
            std::fs::read_to_string("/proc/thread-self/net/snmp")
                .context("read the counters of UDP")
        })?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = (
            lines.next().unwrap_or_default().split(' '),
            lines.next().unwrap_or_default().split(' '),
        );
        let wanted = ["InDatagrams", "RcvbufErrors"];
        let found: Vec<u64> = names
            .zip(values)
            .filter(|(name, _)| wanted.contains(name))
            .map(|(_, value)| value.parse())
            .collect::<Result<_, _>>()
            .context("a counter is a number")?;
        anyhow::ensure!(
            found.len() == wanted.len(),
            "the kernel counts no datagrams"
        );
        Ok(found.iter().sum())
    }
}
