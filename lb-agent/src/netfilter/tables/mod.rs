//! nftables: tables, chains and rules as far as they jump, listed and removed. They include
//! iptables' rules if its backend is nftables.

mod own;
mod remove;
mod translating;

use std::io::{self, Result};

pub(super) use own::OwnTable;
pub use remove::{remove_chains, remove_rules, remove_table};
pub use translating::translate_output;

use super::{
    Socket,
    attributes::{Attributes, find, number, read, text, walk},
    message::Message,
    subsystem::NFTABLES,
};

const NEW_TABLE: u8 = 0;
const GET_TABLE: u8 = 1;
const DEL_TABLE: u8 = 2;
const NEW_CHAIN: u8 = 3;
const GET_CHAIN: u8 = 4;
const DEL_CHAIN: u8 = 5;
const NEW_RULE: u8 = 6;
const GET_RULE: u8 = 7;
const DEL_RULE: u8 = 8;

/// What a table is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

impl Family {
    /// As netlink numbers it.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Ip6 => 10,
        }
    }

    const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Inet),
            2 => Some(Self::Ip),
            10 => Some(Self::Ip6),
            _ => None,
        }
    }

    /// As `nft` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }
}

/// A chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// Of its table.
    pub family: Family,
    /// Of its table.
    pub table: String,
    /// Its own.
    pub name: String,
    /// Where packets enter it by themselves; `None` where rules must jump to it.
    pub hook: Option<Hook>,
}

/// What a base chain hangs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hook {
    /// `NF_INET_…`: 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting.
    pub number: u32,
    /// Its policy is to drop.
    pub drops: bool,
}

/// A rule, as far as it jumps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Its chain.
    pub chain: String,
    /// By which it is removed; a number of the kernel's, in its byte order.
    pub handle: Vec<u8>,
    /// The chain that it jumps or goes to.
    pub target: Option<String>,
}

/// Every table: family and name. None where the kernel has no nftables.
pub fn tables(socket: &mut Socket) -> Result<Vec<(Family, String)>> {
    let all = list(socket, GET_TABLE, 0, &Attributes::default())?;
    Ok(all
        .iter()
        .filter_map(|m| Some((Family::of(m.family)?, text(find(&m.attributes, 1)?))))
        .collect())
}

/// Every chain of every table.
pub fn chains(socket: &mut Socket) -> Result<Vec<Chain>> {
    let all = list(socket, GET_CHAIN, 0, &Attributes::default())?;
    Ok(all.iter().filter_map(chain).collect())
}

/// The rules of a table, in their order.
pub fn rules(socket: &mut Socket, family: Family, table: &str) -> Result<Vec<Rule>> {
    let of_table = Attributes::default().text(1, table);
    let all = list(socket, GET_RULE, family.number(), &of_table)?;
    Ok(all.iter().filter_map(rule).collect())
}

fn list(
    socket: &mut Socket,
    command: u8,
    family: u8,
    attributes: &Attributes,
) -> Result<Vec<Message>> {
    match socket.list(&Message::new(NFTABLES, command, family, attributes)) {
        Err(e) if is_absent(&e) => Ok(Vec::new()),
        other => other,
    }
}

/// The kernel lacks the subsystem, or all of them, or the table was removed meanwhile.
pub(in crate::netfilter) fn is_absent(error: &io::Error) -> bool {
    use nix::libc::{EINVAL, ENOENT, EOPNOTSUPP, EPROTONOSUPPORT};
    matches!(
        error.raw_os_error(),
        Some(EINVAL | ENOENT | EOPNOTSUPP | EPROTONOSUPPORT)
    )
}

fn chain(message: &Message) -> Option<Chain> {
    let a = &message.attributes;
    let hook = walk(a, &[4, 1]).and_then(number).map(|hook| Hook {
        number: hook,
        drops: find(a, 5).and_then(number) == Some(0),
    });
    Some(Chain {
        family: Family::of(message.family)?,
        table: text(find(a, 1)?),
        name: text(find(a, 3)?),
        hook,
    })
}

fn rule(message: &Message) -> Option<Rule> {
    let a = &message.attributes;
    let target = find(a, 4).and_then(|expressions| {
        read(expressions).find_map(|(_, expression)| {
            let of_verdict = find(expression, 1).map(text)? == "immediate";
            // NFTA_EXPR_DATA, NFTA_IMMEDIATE_DATA, NFTA_DATA_VERDICT, NFTA_VERDICT_CHAIN
            of_verdict.then(|| walk(expression, &[2, 2, 2, 2]).map(text))?
        })
    });
    Some(Rule {
        chain: text(find(a, 2)?),
        handle: find(a, 3)?.to_vec(),
        target,
    })
}
