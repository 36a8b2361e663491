//! nftables: tables, chains and rules as far as they jump, listed and removed. They include
//! iptables' rules if its backend is nftables.

use std::{
    io::{self, Result},
    ops::ControlFlow,
    path::Path,
};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};

use super::{
    Socket,
    attributes::{Attributes, find, number, read, text, walk},
    expressions,
    message::Message,
    socket::{Consistency, REREADS},
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

/// Removals in one transaction, so that it fits the socket's buffer.
const CHUNK: usize = 500;
/// Chains of another's network namespace that are read at most. The one that is looked for is a base
/// chain, of which there are few.
const MOST_CHAINS: usize = 4096;
/// The tables of iptables' legacy backend, where the kernel has it.
const LEGACY: [&str; 2] = [
    "/proc/thread-self/net/ip_tables_names",
    "/proc/thread-self/net/ip6_tables_names",
];

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

/// `NF_INET_LOCAL_OUT`
const OUTPUT: u32 = 3;

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

/// Are there rules that translate what the processes of this network namespace send? Those of
/// iptables' legacy backend cannot be listed: its table is there from its first use on. The chains
/// are another's, who may make any number of them: so many that they are not read to the end count
/// as such rules, since to leave a namespace alone does no harm. Rules are not read. Fails if a part
/// could not be read and the others have none.
pub fn translate_output() -> Result<bool> {
    let chains = std::iter::once_with(|| Socket::open().and_then(chains_translate));
    any(chains.chain(LEGACY.iter().map(|file| has_nat(Path::new(file)))))
}

/// What cannot be read hides nothing that can be.
fn any(parts: impl Iterator<Item = Result<bool>>) -> Result<bool> {
    let mut unread = None;
    for part in parts {
        match part {
            Ok(true) => return Ok(true),
            Err(error) if !is_absent(&error) => unread = Some(error),
            Ok(false) | Err(_) => {}
        }
    }
    unread.map_or(Ok(false), Err)
}

fn chains_translate(mut socket: Socket) -> Result<bool> {
    let request = Message::new(NFTABLES, GET_CHAIN, 0, &Attributes::default());
    for _ in 0..REREADS {
        let (mut count, mut found) = (0, false);
        let scanned = socket.scan(&request, |message| {
            count += 1;
            found = count > MOST_CHAINS || translates_output(&message);
            if found {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        match scanned? {
            _ if found => return Ok(true),
            Consistency::Consistent => return Ok(false),
            Consistency::ChangedMeanwhile => {}
        }
    }
    // Used as it is.
    Ok(false)
}

fn translates_output(message: &Message) -> bool {
    let a = &message.attributes;
    let hook = walk(a, &[4, 1]).and_then(number);
    let rules = find(a, 6).and_then(number);
    hook == Some(OUTPUT) && rules > Some(0) && find(a, 7).map(text).as_deref() == Some("nat")
}

/// Is the table `nat` named in this file?
fn has_nat(path: &Path) -> Result<bool> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().any(|name| name == "nat"))
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
pub(super) fn is_absent(error: &io::Error) -> bool {
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

/// Everything at once. If a part is already gone, the rest one by one.
fn remove(socket: &mut Socket, messages: &[(Message, u16)]) -> Result<()> {
    let is_gone = |e: &io::Error| e.raw_os_error() == Some(nix::libc::ENOENT);
    match socket.transact(NFTABLES, messages) {
        Err(e) if is_gone(&e) => messages.chunks(1).try_for_each(|one| {
            let removed = socket.transact(NFTABLES, one);
            removed.or_else(|e| if is_gone(&e) { Ok(()) } else { Err(e) })
        }),
        other => other,
    }
}

/// A table of the agent's own, for IPv4 and IPv6, with one base chain of type nat and one rule.
pub(super) struct OwnTable {
    /// As `nft list tables` shows it.
    pub(super) name: &'static str,
    /// What it is for, and whose it is; the rule has the same.
    pub(super) comment: &'static str,
    /// Its chain.
    pub(super) chain: &'static str,
    /// Of [`Hook`].
    pub(super) hook: u32,
    /// Among the chains of its hook: lower ones come first.
    pub(super) priority: i32,
}

impl OwnTable {
    /// Is it there as it is made: its chain on its hook, with this rule and no other?
    pub(super) fn stands(&self, socket: &mut Socket, expressions: &Attributes) -> Result<bool> {
        let is_chain = |chain: &Chain| {
            chain.family == Family::Inet
                && chain.table == self.name
                && chain.name == self.chain
                && chain.hook.is_some_and(|hook| hook.number == self.hook)
        };
        if !chains(socket)?.iter().any(is_chain) {
            return Ok(false);
        }
        let of_table = Attributes::default().text(1, self.name);
        let all = list(socket, GET_RULE, Family::Inet.number(), &of_table)?;
        let of_chain = |message: &&Message| {
            find(&message.attributes, 2).map(text).as_deref() == Some(self.chain)
        };
        let rules: Vec<&Message> = all.iter().filter(of_chain).collect();
        Ok(match rules[..] {
            [rule] => find(&rule.attributes, 4).is_some_and(|f| expressions::are(f, expressions)),
            _ => false,
        })
    }

    /// Makes it, or what is missing of it, in one step. Other rules of its chain are removed.
    pub(super) fn put(&self, socket: &mut Socket, expressions: &Attributes) -> Result<()> {
        let to = |command, flags: u16, attributes: &Attributes| {
            let message = Message::new(NFTABLES, command, Family::Inet.number(), attributes);
            (message, flags)
        };
        let comment = expressions::comment(self.comment);
        let table = Attributes::default().text(1, self.name).with(6, &comment);
        let hook = Attributes::default()
            .number(1, self.hook)
            .number(2, self.priority.cast_unsigned());
        let chain = Attributes::default()
            .text(1, self.name)
            .text(3, self.chain)
            .nest(4, &hook)
            .text(7, "nat");
        let rules = Attributes::default().text(1, self.name).text(2, self.chain);
        let rule = rules.clone().nest(4, expressions).with(7, &comment);
        socket.transact(
            NFTABLES,
            &[
                to(NEW_TABLE, NLM_F_CREATE, &table),
                to(NEW_CHAIN, NLM_F_CREATE, &chain),
                to(DEL_RULE, 0, &rules),
                to(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, &rule),
            ],
        )
    }
}

/// Removes a table with all that is in it, if it is there.
pub fn remove_table(socket: &mut Socket, family: Family, table: &str) -> Result<()> {
    let named = Attributes::default().text(1, table);
    let message = Message::new(NFTABLES, DEL_TABLE, family.number(), &named);
    remove(socket, &[(message, 0)])
}

/// Removes rules by their handles, all at once, as far as they are there.
pub fn remove_rules<'r>(
    socket: &mut Socket,
    (family, table): (Family, &str),
    rules: impl IntoIterator<Item = &'r Rule>,
) -> Result<()> {
    let messages: Vec<(Message, u16)> = rules
        .into_iter()
        .map(|rule| {
            let which = Attributes::default()
                .text(1, table)
                .text(2, &rule.chain)
                .with(3, &rule.handle);
            let message = Message::new(NFTABLES, DEL_RULE, family.number(), &which);
            (message, 0)
        })
        .collect();
    remove(socket, &messages)
}

/// Empties chains, then removes them, as far as they are there: nothing else may jump to them.
pub fn remove_chains(
    socket: &mut Socket,
    (family, table): (Family, &str),
    chains: &[String],
) -> Result<()> {
    for (command, name) in [(DEL_RULE, 2), (DEL_CHAIN, 3)] {
        for chunk in chains.chunks(CHUNK) {
            let messages: Vec<(Message, u16)> = chunk
                .iter()
                .map(|chain| {
                    let which = Attributes::default().text(1, table).text(name, chain);
                    let message = Message::new(NFTABLES, command, family.number(), &which);
                    (message, 0)
                })
                .collect();
            remove(socket, &messages)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    fn failed(errno: Errno) -> Result<bool> {
        Err(errno.into())
    }

    #[test]
    fn what_cannot_be_read_hides_no_rules_and_counts_for_none() {
        let of = |parts: [Result<bool>; 3]| any(parts.into_iter());
        assert!(!of([Ok(false), Ok(false), Ok(false)]).unwrap());
        assert!(of([Ok(false), failed(Errno::EACCES), Ok(true)]).unwrap());
        let unread = of([Ok(false), failed(Errno::EACCES), Ok(false)]).unwrap_err();
        assert_eq!(unread.kind(), io::ErrorKind::PermissionDenied);
        // A kernel without netfilter's sockets, nftables, or iptables.
        for absent in [Errno::EPROTONOSUPPORT, Errno::EOPNOTSUPP, Errno::ENOENT] {
            assert!(!of([failed(absent), Ok(false), failed(Errno::ENOENT)]).unwrap());
            assert!(of([failed(absent), Ok(true), Ok(false)]).unwrap());
        }
    }

    #[test]
    fn the_legacy_backend_has_rules_once_its_table_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ip_tables_names");
        let absent = has_nat(&file).unwrap_err();
        assert!(is_absent(&absent), "{absent}");
        for (text, has) in [("", false), ("filter\n", false), ("filter\nnat\n", true)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(has_nat(&file).unwrap(), has, "{text:?}");
        }
    }
}
