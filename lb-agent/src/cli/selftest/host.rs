//! The hosts of the test: each a process of its own, which asks and serves when it is told to.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{
    addresses::{self, Family, Seat},
    kind::TARGET,
    network::{DEVICE, Network},
    part::{self, Part},
    question::{Answer, Device, Order, Question, Reply},
};

/// Ends with this value.
pub(super) struct Host {
    child: Child,
    orders: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Host {
    /// Starts it in a new cgroup.
    pub(super) fn start(cgroup: &Path, own_network: bool) -> Result<Self> {
        fs::create_dir_all(cgroup).with_context(|| format!("create {}", cgroup.display()))?;
        let part = Part::Host {
            cgroup: cgroup.to_owned(),
            own_network,
        };
        let mut child = part::command(&part)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a host")?;
        let mut host = Self {
            orders: child.stdin.take().context("no pipe to a host")?,
            replies: BufReader::new(child.stdout.take().context("no pipe from a host")?),
            child,
        };
        host.heard()?;
        Ok(host)
    }

    /// Starts the one of this seat, and joins it to the node's namespace, which this process is in.
    pub(super) fn join(
        seat: Seat,
        cgroup: &Path,
        node: &Network,
        families: &[Family],
    ) -> Result<Self> {
        let mut host = Self::start(cgroup, true)?;
        node.pair(seat.device(), host.child.id())?;
        let device = |name: &str, ip: fn(Seat, Family) -> _, gateways: Vec<_>| Device {
            name: name.to_owned(),
            addresses: families
                .iter()
                .map(|family| (ip(seat, *family), addresses::prefix(*family)))
                .collect(),
            gateways,
        };
        node.set_up(&device(seat.device(), Seat::gateway, Vec::new()))?;
        let gateways = families.iter().map(|family| seat.gateway(*family));
        let outer = device(DEVICE, Seat::address, gateways.collect());
        host.tell(&Order::Join(outer))?;
        if Seat::BACKENDS.contains(&seat) {
            host.tell(&Order::Serve {
                name: seat.name().to_owned(),
                port: TARGET,
                with_ipv6: families.contains(&Family::V6),
            })?;
        }
        Ok(host)
    }

    /// Asks.
    pub(super) fn ask(&mut self, question: Question) -> Result<Answer> {
        match self.tell(&Order::Ask(question))? {
            Reply::Answer(answer) => Ok(answer),
            other => bail!("a host answered {other:?} to a question"),
        }
    }

    fn tell(&mut self, order: &Order) -> Result<Reply> {
        let line = serde_json::to_string(order).context("encode JSON")?;
        writeln!(self.orders, "{line}").context("tell a host")?;
        self.heard()
    }

    fn heard(&mut self) -> Result<Reply> {
        let mut line = String::new();
        self.replies.read_line(&mut line).context("hear a host")?;
        if line.is_empty() {
            bail!("a host of the test ended: what it said is above");
        }
        match serde_json::from_str(&line).context("understand a host")? {
            Reply::Failed(error) => bail!(error),
            reply => Ok(reply),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
