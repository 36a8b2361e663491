//! What kube-proxy has left on this machine, in any of its modes. Changes nothing.

use std::fs;

use anyhow::{Context as _, Result};
use lb_common::Proto;

use super::{
    connections::Frontends,
    held::{self, Held},
    legacy::{self, Saved},
    names,
    ruleset::{Removal, Ruleset},
};
use crate::netfilter::{
    Socket,
    conntrack::{self, Connection},
    keeper,
    named::Kind,
    tables::{self, Chain, Family, Rule},
};

/// A table of iptables with something of kube-proxy's in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Iptables {
    pub(super) family: Family,
    pub(super) table: String,
    /// All of them, in their order.
    pub(super) rules: Vec<Rule>,
    /// By indices of `rules`.
    pub(super) removal: Removal,
}

/// Legacy tables: family, name, and why it cannot be looked into.
type Unread = Vec<(Family, String, String)>;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Leftovers {
    /// Tables of its own.
    pub(super) tables: Vec<(Family, String)>,
    /// Tables of iptables, by the nftables backend.
    pub(super) iptables: Vec<Iptables>,
    /// Tables of iptables, by the legacy backend.
    pub(super) legacy: Vec<(Saved, Removal)>,
    /// Legacy tables that cannot be looked into, and why.
    pub(super) unread: Unread,
    pub(super) sets: Vec<String>,
    pub(super) accounts: Vec<String>,
    /// The device of its ipvs mode.
    pub(super) device: bool,
    /// Cluster IPs on other devices that no process serves.
    pub(super) held: Vec<Held>,
    /// Services of IPVS, as `/proc/net/ip_vs` lists them.
    pub(super) ipvs: usize,
    /// UDP connections to Services that netfilter translates.
    pub(super) udp: Vec<Connection>,
    /// TCP and SCTP connections that netfilter translates, of kube-proxy or of other software.
    pub(super) tcp: usize,
    /// The table that keeps them.
    pub(super) keeper: bool,
    /// `net.ipv4.conf.all.route_localnet`, which its iptables mode sets.
    pub(super) route_localnet: bool,
}

impl Leftovers {
    /// Looks, with the frontends that the agent serves now.
    pub fn find(frontends: &Frontends) -> Result<Self> {
        let mut socket = Socket::open().context("open a socket to netfilter")?;
        let socket = &mut socket;
        let tables = tables::tables(socket).context("list the nftables")?;
        let (legacy, unread) = legacy();
        let connections =
            conntrack::translated(socket).context("list the connections that netfilter tracks")?;
        Ok(Self {
            keeper: keeper::is_there(socket)?,
            iptables: iptables(socket)?,
            legacy,
            unread,
            sets: Kind::Set
                .names(socket)
                .context("list the ipsets")?
                .into_iter()
                .filter(|name| names::is_set(name))
                .collect(),
            accounts: Kind::Account
                .names(socket)
                .context("list the accounts")?
                .into_iter()
                .filter(|name| names::ACCOUNTS.contains(&name.as_str()))
                .collect(),
            device: listed(names::DEVICE),
            held: held::find(frontends)?,
            ipvs: ipvs(),
            tcp: connections.iter().filter(|c| c.lasts()).count(),
            udp: udp(connections, frontends),
            route_localnet: fs::read_to_string("/proc/sys/net/ipv4/conf/all/route_localnet")
                .is_ok_and(|text| text.trim() == "1"),
            tables: tables
                .into_iter()
                .filter(|(family, name)| *family != Family::Inet && name == names::TABLE)
                .collect(),
        })
    }

    /// Something that rules packets is there.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !(self.tables.is_empty()
            && self.iptables.is_empty()
            && self.legacy.is_empty()
            && self.sets.is_empty()
            && self.accounts.is_empty())
            || self.device
            || self.ipvs > 0
    }

    /// The rules and what goes with them, in a few words.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut words: Vec<String> = self
            .tables
            .iter()
            .map(|(family, name)| format!("table {} {name}", family.name()))
            .collect();
        let iptables = self
            .iptables
            .iter()
            .map(|i| (i.family, &i.table, "", &i.removal));
        let legacy = self
            .legacy
            .iter()
            .map(|(s, r)| (s.family, &s.table, " (legacy)", r));
        for (family, table, backend, removal) in iptables.chain(legacy) {
            let six = if family == Family::Ip6 { "ip6" } else { "ip" };
            words.push(format!(
                "{} chains in {six}tables{backend} {table}",
                removal.chains.len()
            ));
        }
        for (n, what) in [
            (self.sets.len(), "ipsets"),
            (self.accounts.len(), "nfacct objects"),
            (self.ipvs, "services of IPVS"),
        ] {
            if n > 0 {
                words.push(format!("{n} {what}"));
            }
        }
        if self.device {
            words.push(format!("device {}", names::DEVICE));
        }
        words.join(", ")
    }

    /// Cluster IPs that devices of this machine have and that no process serves: the devices, each
    /// with its addresses. Empty for none.
    #[must_use]
    pub fn held(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for of_device in self.held.chunk_by(|a, b| a.device == b.device) {
            let first = of_device.iter().take(3).map(|h| h.addr.to_string());
            let first: Vec<String> = first.collect();
            let more = of_device.len() - first.len();
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let device = of_device.first().map_or("", |h| h.device.as_str());
            words.push(format!("{device} ({}{more})", first.join(", ")));
        }
        words.join(", ")
    }

    /// Why legacy tables could not be looked into, and which.
    #[must_use]
    pub fn why_unread(&self) -> String {
        let tables: Vec<String> = self
            .unread
            .iter()
            .map(|(family, table, _)| format!("{} {table}", family.name()))
            .collect();
        let why = self.unread.first().map_or("", |(_, _, why)| why);
        format!("{}: {why}", tables.join(", "))
    }

    /// Legacy tables that could not be looked into.
    #[must_use]
    pub fn unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// UDP connections that are pinned to the backends they had.
    #[must_use]
    pub fn pinned(&self) -> usize {
        self.udp.len()
    }

    /// TCP and SCTP connections that our table keeps; `None` while it is not there.
    #[must_use]
    pub fn kept(&self) -> Option<usize> {
        self.keeper.then_some(self.tcp)
    }

    /// A setting of its iptables mode is in force.
    #[must_use]
    pub fn route_localnet(&self) -> bool {
        self.route_localnet
    }
}

/// UDP connections to Services.
pub(super) fn udp(connections: Vec<Connection>, frontends: &Frontends) -> Vec<Connection> {
    connections
        .into_iter()
        .filter(|c| c.proto == Proto::Udp.number() && frontends.lead(c))
        .collect()
}

/// A device of this name.
fn listed(device: &str) -> bool {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .any(|(name, _)| name.trim() == device)
}

/// Lines such as `TCP  0A600001:01BB rr`.
fn ipvs() -> usize {
    let text = fs::read_to_string("/proc/thread-self/net/ip_vs").unwrap_or_default();
    let services = text.lines().filter(|line| {
        let protocol = line.split_whitespace().next().unwrap_or_default();
        ["TCP", "UDP", "SCTP", "FWM"].contains(&protocol)
    });
    services.count()
}

/// Tables of iptables with something of kube-proxy's in them.
fn iptables(socket: &mut Socket) -> Result<Vec<Iptables>> {
    let chains = tables::chains(socket).context("list the chains")?;
    let mut tables: Vec<(Family, &str)> = chains
        .iter()
        .filter(|c| c.family != Family::Inet && names::is_chain(&c.name))
        .map(|c| (c.family, c.table.as_str()))
        .collect();
    tables.sort_unstable();
    tables.dedup();
    let mut found = Vec::new();
    for (family, table) in tables {
        let rules = tables::rules(socket, family, table)
            .with_context(|| format!("list the rules of table {} {table}", family.name()))?;
        let here = |c: &&Chain| c.family == family && c.table == table;
        let set = Ruleset {
            chains: chains
                .iter()
                .filter(here)
                .map(|c| (c.name.clone(), c.hook.is_some()))
                .collect(),
            rules: rules
                .iter()
                .map(|r| (r.chain.clone(), r.target.clone()))
                .collect(),
        };
        let removal = Removal::of(&set);
        if !removal.is_empty() {
            found.push(Iptables {
                family,
                table: table.to_owned(),
                rules,
                removal,
            });
        }
    }
    Ok(found)
}

/// Found ones, and those that could not be read.
fn legacy() -> (Vec<(Saved, Removal)>, Unread) {
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for (family, table) in legacy::tables() {
        match legacy::save(family, &table) {
            Ok(Some(saved)) => {
                let removal = Removal::of(&saved.rules);
                if !removal.is_empty() {
                    found.push((saved, removal));
                }
            }
            Ok(None) => unread.push((family, table, legacy::TOOLS.to_owned())),
            Err(error) => unread.push((family, table, format!("{error:#}"))),
        }
    }
    (found, unread)
}
