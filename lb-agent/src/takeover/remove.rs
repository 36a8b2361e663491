//! kube-proxy's leftovers taken away, in an order that breaks no open connection: what keeps them comes first, then the jumps
//! into its chains go, then the rest. Goes on after a failure, and tells it.

use std::fmt::Display;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use nix::errno::Errno;

use crate::{
    netfilter::{
        Socket, conntrack, keeper,
        named::Kind,
        tables::{self, Family},
    },
    netlink::{Connection, is_error},
};

use super::{
    connections::Frontends,
    find::{Iptables, Leftovers, udp},
    legacy::{self, Saved},
    names,
    ruleset::Removal,
};

/// What was done, or would be, a line each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Told {
    /// In order.
    pub lines: Vec<String>,
    /// Something that is kube-proxy's stays behind.
    pub incomplete: bool,
}

/// Whether to do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Do.
    Remove,
    /// Say only.
    DryRun,
}

/// Removes what was found, and UDP connections to `frontends`.
pub async fn run(left: &Leftovers, frontends: &Frontends, how: How) -> Result<Told> {
    let mut work = Work {
        how,
        told: Told::default(),
        socket: Socket::open().context("open a socket to netfilter")?,
    };
    if left.tcp > 0 && (left.has_rules() || left.unread()) && !left.keeper {
        // Without it, nothing may go.
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
    work.udp(left, frontends);
    if left.keeper && left.tcp == 0 && !left.unread() {
        work.step(
            &format!(
                "table inet {}: no connection needs it any more",
                keeper::TABLE
            ),
            |socket| Ok(keeper::remove(socket)?),
        );
    }
    work.rest(left);
    Ok(work.told)
}

struct Work {
    how: How,
    told: Told,
    socket: Socket,
}

impl Work {
    /// Does a step and tells it. A thing that is gone is as good as removed.
    fn step(&mut self, what: &str, action: impl FnOnce(&mut Socket) -> Result<()>) {
        if self.quietly(what, action) {
            let verb = self.verb("removed", "would remove");
            self.say(format_args!("{verb} {what}"));
        }
    }

    /// Does a step, and tells only its failure.
    fn quietly(&mut self, what: &str, action: impl FnOnce(&mut Socket) -> Result<()>) -> bool {
        let done = match self.how {
            How::Remove => action(&mut self.socket),
            How::DryRun => Ok(()),
        };
        if let Err(error) = &done {
            self.say(format_args!("FAILED       {what}: {error:#}"));
            self.told.incomplete = true;
        }
        done.is_ok()
    }

    /// First the jumps, at once, then the chains that nothing leads to any more.
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
            self.told_step(&place, &rule.chain, rule.target.as_deref());
        }
        let done = self.quietly(&format!("{place}: jumps"), |socket| {
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

    /// All at once, by its own tool.
    fn legacy(&mut self, (saved, removal): &(Saved, Removal)) {
        let place = format!("{} (legacy) {}", iptables(saved.family), saved.table);
        self.kept(&place, removal);
        for i in &removal.jumps {
            if let Some((chain, target)) = saved.rules.rules.get(*i) {
                self.told_step(&place, chain, target.as_deref());
            }
        }
        let what = format!("{place}: {}", removal.chains_in_words());
        self.step(&what, |_| legacy::remove_all(saved, removal));
    }

    fn told_step(&mut self, place: &str, chain: &str, target: Option<&str>) {
        let verb = self.verb("removed", "would remove");
        let target = target.unwrap_or_default();
        self.say(format_args!("{verb} {place}: {chain} -j {target}"));
    }

    fn keep(&mut self, connections: usize) -> Result<()> {
        if self.how == How::Remove {
            keeper::put(&mut self.socket)
                .context("make the table that keeps open connections translated")?;
        }
        let verb = self.verb("made", "would make");
        self.say(format_args!(
            "{verb} table inet {}: it keeps {connections} connections of TCP and SCTP open that netfilter translates, and goes with the last of them",
            keeper::TABLE
        ));
        Ok(())
    }

    fn kept(&mut self, place: &str, removal: &Removal) {
        for (chain, by) in &removal.kept {
            self.say(format_args!(
                "kept         {place}: {chain}, since {by} leads there"
            ));
        }
    }

    /// Entries of UDP would lead their flows to the backends that they have, and past us. Those of TCP are never touched.
    /// Listed anew, since more were made while the rules were there.
    fn udp(&mut self, left: &Leftovers, frontends: &Frontends) {
        let mut all = left.udp.clone();
        self.quietly("list of UDP connections", |socket| {
            all = udp(conntrack::translated(socket)?, frontends);
            Ok(())
        });
        let mut gone = 0;
        for connection in &all {
            let name = connection.to_string();
            let mut found = true;
            let done = self.quietly(&format!("connection {name}"), |socket| {
                found = conntrack::remove(socket, connection)?;
                Ok(())
            });
            gone += usize::from(done && found);
        }
        if gone > 0 {
            let verb = self.verb("removed", "would remove");
            self.say(format_args!(
                "{verb} {gone} tracked UDP connections to Services"
            ));
        }
    }

    /// What we do not or cannot take away.
    fn rest(&mut self, left: &Leftovers) {
        if left.unread() {
            self.say(format_args!(
                "NOT SEEN     legacy iptables {}",
                left.why_unread()
            ));
            self.told.incomplete = true;
        }
        if left.ipvs > 0 {
            self.say(format_args!(
                "NOT REMOVED  {} services of IPVS: `ipvsadm --clear` removes them, and ends the connections that go through them",
                left.ipvs
            ));
            self.told.incomplete = true;
        }
        if left.route_localnet {
            self.say(format_args!(
                "left         net.ipv4.conf.all.route_localnet=1, which kube-proxy's iptables mode sets: `sysctl -w net.ipv4.conf.all.route_localnet=0` unless something else needs it"
            ));
        }
    }

    fn verb(&self, done: &'static str, dry: &'static str) -> String {
        format!("{:12}", if self.how == How::Remove { done } else { dry })
    }

    fn say(&mut self, line: impl Display) {
        self.told.lines.push(line.to_string());
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
