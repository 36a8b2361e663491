//! Removes kube-proxy's leftovers in an order that breaks no open connection: first the table that
//! keeps connections is created, then the jumps into kube-proxy's chains go, then the rest. Reports
//! a failure and goes on.

use std::fmt::Display;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use nix::errno::Errno;

use super::{
    connections::Frontends,
    find::{Iptables, Leftovers, udp},
    held::{self, Held, Remedy},
    legacy::{self, Saved},
    names,
    ruleset::Removal,
};
use crate::{
    netfilter::{
        Socket, conntrack, keeper,
        named::Kind,
        tables::{self, Family},
    },
    netlink::{Connection, is_error},
};

/// What was removed, or would be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RemovalReport {
    /// A line each, in order.
    pub lines: Vec<String>,
    /// Something of kube-proxy's is left.
    pub incomplete: bool,
}

/// Whether to do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Do.
    Remove,
    /// Only report.
    DryRun,
}

/// Removes what was found, and UDP connections to `frontends`.
pub async fn run(left: &Leftovers, frontends: &Frontends, how: How) -> Result<RemovalReport> {
    let mut work = Work {
        how,
        report: RemovalReport::default(),
        socket: Socket::open().context("open a socket to netfilter")?,
    };
    if left.tcp > 0 && (left.has_rules() || left.unread()) && !left.keeper {
        // Without it, nothing may be removed.
        work.keep(left.tcp)?;
    }
    for (family, table) in &left.tables {
        work.step(&format!("table {} {table}", family.name()), |socket| {
            Ok(tables::remove_table(socket, *family, table)?)
        });
    }
    for found in &left.iptables {
        work.iptables(found);
    }
    for found in &left.legacy {
        work.legacy(found);
    }
    for (kind, word, all) in [
        (Kind::Set, "ipset", &left.sets),
        (Kind::Account, "nfacct", &left.accounts),
    ] {
        for name in all {
            work.step(&format!("{word} {name}"), |socket| {
                Ok(kind.remove(socket, name)?)
            });
        }
    }
    if left.device {
        let removed = match how {
            How::Remove => remove_device(names::DEVICE).await,
            How::DryRun => Ok(()),
        };
        let what = format!("device {} with its addresses", names::DEVICE);
        work.step(&what, |_| removed);
    }
    work.held(&left.held).await;
    work.udp(left, frontends);
    if left.keeper && left.tcp == 0 && !left.unread() {
        work.step(
            &format!(
                "table inet {}: no connection needs it any longer",
                keeper::TABLE
            ),
            |socket| Ok(keeper::remove(socket)?),
        );
    }
    work.rest(left);
    Ok(work.report)
}

struct Work {
    how: How,
    report: RemovalReport,
    socket: Socket,
}

impl Work {
    /// Does a step and reports it. What is already gone counts as removed.
    fn step(&mut self, what: &str, action: impl FnOnce(&mut Socket) -> Result<()>) {
        if self.try_step(what, action) {
            let verb = self.verb("removed", "would remove");
            self.add_line(format_args!("{verb} {what}"));
        }
    }

    /// Does a step, and reports only a failure.
    fn try_step(&mut self, what: &str, action: impl FnOnce(&mut Socket) -> Result<()>) -> bool {
        let done = match self.how {
            How::Remove => action(&mut self.socket),
            How::DryRun => Ok(()),
        };
        if let Err(error) = &done {
            self.add_line(format_args!("FAILED       {what}: {error:#}"));
            self.report.incomplete = true;
        }
        done.is_ok()
    }

    /// First the jumps, in one transaction, then the chains, which nothing refers to any more.
    fn iptables(&mut self, found: &Iptables) {
        let Iptables {
            family,
            table,
            rules,
            removal,
        } = found;
        let place = format!("{} {table}", iptables(*family));
        let jumps = removal.jumps.iter().filter_map(|i| rules.get(*i));
        self.kept(&place, removal);
        for rule in jumps.clone() {
            self.report_jump(&place, &rule.chain, rule.target.as_deref());
        }
        let done = self.try_step(&format!("{place}: jumps"), |socket| {
            Ok(tables::remove_rules(socket, (*family, table), jumps)?)
        });
        if done && !removal.chains.is_empty() {
            let what = format!("{place}: {}", removal.chains_in_words());
            self.step(&what, |socket| {
                let of = (*family, table.as_str());
                Ok(tables::remove_chains(socket, of, &removal.chains)?)
            });
        }
    }

    /// Everything at once, by its own tool.
    fn legacy(&mut self, (saved, removal): &(Saved, Removal)) {
        let place = format!("{} (legacy) {}", iptables(saved.family), saved.table);
        self.kept(&place, removal);
        for i in &removal.jumps {
            if let Some((chain, target)) = saved.rules.rules.get(*i) {
                self.report_jump(&place, chain, target.as_deref());
            }
        }
        let what = format!("{place}: {}", removal.chains_in_words());
        self.step(&what, |_| legacy::remove_all(saved, removal));
    }

    fn report_jump(&mut self, place: &str, chain: &str, target: Option<&str>) {
        let verb = self.verb("removed", "would remove");
        let target = target.unwrap_or_default();
        self.add_line(format_args!("{verb} {place}: {chain} -j {target}"));
    }

    fn keep(&mut self, connections: usize) -> Result<()> {
        if self.how == How::Remove {
            keeper::put(&mut self.socket)
                .context("make the table that keeps open connections translated")?;
        }
        let verb = self.verb("made", "would make");
        self.add_line(format_args!(
            "{verb} table inet {}: it keeps open {connections} TCP and SCTP connections that netfilter translates, and is removed with the last of them",
            keeper::TABLE
        ));
        Ok(())
    }

    fn kept(&mut self, place: &str, removal: &Removal) {
        for (chain, by) in &removal.kept {
            self.add_line(format_args!(
                "kept         {place}: {chain}, since {by} jumps there"
            ));
        }
    }

    /// Devices of other proxies as a whole, single addresses of `lo`; of others nobody knows whose
    /// they are.
    async fn held(&mut self, all: &[Held]) {
        for of_device in all.chunk_by(|a, b| a.device == b.device) {
            let Some(first) = of_device.first() else {
                continue;
            };
            if first.remedy() == Remedy::Device {
                let removed = match self.how {
                    How::Remove => remove_device(&first.device).await,
                    How::DryRun => Ok(()),
                };
                let what = format!("device {} with its addresses", first.device);
                self.step(&what, |_| removed);
                continue;
            }
            for one in of_device {
                let Held { device, addr, .. } = one;
                if one.remedy() == Remedy::Leave {
                    self.add_line(format_args!(
                        "left         cluster IP {addr} on {device}, where no process listens: `ip address del` removes it"
                    ));
                    continue;
                }
                let removed = match self.how {
                    How::Remove => held::remove(one).await,
                    How::DryRun => Ok(()),
                };
                self.step(&format!("cluster IP {addr} on {device}"), |_| removed);
            }
        }
    }

    /// UDP entries would keep sending their flows to their backends, past the agent. Those of TCP
    /// are never touched. They are listed again, since more were made while the rules existed.
    fn udp(&mut self, left: &Leftovers, frontends: &Frontends) {
        let mut all = left.udp.clone();
        self.try_step("list of UDP connections", |socket| {
            all = udp(conntrack::translated(socket)?, frontends);
            Ok(())
        });
        let mut gone = 0;
        for connection in &all {
            let name = connection.to_string();
            let mut found = true;
            let done = self.try_step(&format!("connection {name}"), |socket| {
                found = conntrack::remove(socket, connection)?;
                Ok(())
            });
            gone += usize::from(done && found);
        }
        if gone > 0 {
            let verb = self.verb("removed", "would remove");
            self.add_line(format_args!(
                "{verb} {gone} tracked UDP connections to Services"
            ));
        }
    }

    /// What the agent does not remove, or cannot.
    fn rest(&mut self, left: &Leftovers) {
        if left.unread() {
            self.add_line(format_args!(
                "NOT SEEN     legacy iptables {}",
                left.why_unread()
            ));
            self.report.incomplete = true;
        }
        if left.ipvs > 0 {
            self.add_line(format_args!(
                "NOT REMOVED  {} services of IPVS: `ipvsadm --clear` removes them and ends their connections",
                left.ipvs
            ));
            self.report.incomplete = true;
        }
        if left.route_localnet {
            self.add_line(format_args!(
                "left         net.ipv4.conf.all.route_localnet=1, which kube-proxy's iptables mode sets: `sysctl -w net.ipv4.conf.all.route_localnet=0` unless something else needs it"
            ));
        }
    }

    fn verb(&self, done: &'static str, dry: &'static str) -> String {
        format!("{:12}", if self.how == How::Remove { done } else { dry })
    }

    fn add_line(&mut self, line: impl Display) {
        self.report.lines.push(line.to_string());
    }
}

/// As its commands are called.
fn iptables(family: Family) -> &'static str {
    if family == Family::Ip6 {
        "ip6tables"
    } else {
        "iptables"
    }
}

async fn remove_device(name: &str) -> Result<()> {
    let netlink = Connection::open()?;
    let netlink = netlink.handle();
    let query = netlink.link().get().match_name(name.to_owned()).execute();
    let Some(links) =
        unless_gone(query.try_collect::<Vec<_>>().await).context("find the device")?
    else {
        return Ok(());
    };
    for link in links {
        let deleted = netlink.link().del(link.header.index).execute().await;
        unless_gone(deleted).context("delete the device")?;
    }
    Ok(())
}

/// `None` where there is no such device any more.
fn unless_gone<T>(asked: Result<T, rtnetlink::Error>) -> Result<Option<T>, rtnetlink::Error> {
    match asked {
        Err(error) if is_error(&error, Errno::ENODEV) => Ok(None),
        other => other.map(Some),
    }
}
