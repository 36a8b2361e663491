//! Tables that the agent keeps for itself.

use std::io::Result;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};

use super::{
    super::{
        Socket,
        attributes::{Attributes, find, text},
        expressions,
        message::Message,
        subsystem::NFTABLES,
    },
    Chain, DEL_RULE, Family, GET_RULE, NEW_CHAIN, NEW_RULE, NEW_TABLE, chains, list,
};

/// A table of the agent's own, for IPv4 and IPv6, with one base chain of type nat and one rule.
pub(in crate::netfilter) struct OwnTable {
    /// As `nft list tables` shows it.
    pub(in crate::netfilter) name: &'static str,
    /// What it is for, and whose it is; the rule has the same.
    pub(in crate::netfilter) comment: &'static str,
    /// Its chain.
    pub(in crate::netfilter) chain: &'static str,
    /// Of [`Hook`].
    pub(in crate::netfilter) hook: u32,
    /// Among the chains of its hook: lower ones come first.
    pub(in crate::netfilter) priority: i32,
}

impl OwnTable {
    /// Is it there as it is made: its chain on its hook, with this rule and no other?
    pub(in crate::netfilter) fn stands(
        &self,
        socket: &mut Socket,
        expressions: &Attributes,
    ) -> Result<bool> {
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
    pub(in crate::netfilter) fn put(
        &self,
        socket: &mut Socket,
        expressions: &Attributes,
    ) -> Result<()> {
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
