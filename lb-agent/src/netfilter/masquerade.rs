//! The rule that gives packets the node's address where the programs asked for it: those of
//! Services with `lb-agent.io/forwarding: snat`, to backends on this node.
//!
//! The stack does it, and behind its FORWARD chain, as it does for kube-proxy: whatever judges
//! packets there (network policies above all) sees what it would see with kube-proxy, and answers
//! come back through the kernel's own tracking.

use std::io::Result;

use lb_common::masquerade::MARK;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};

use super::{
    Socket,
    attributes::Attributes,
    expressions::{self, REGISTER, has_bits},
    message::Message,
    subsystem::NFTABLES,
    tables::{self, Family},
};

/// As `nft list tables` shows it.
pub const TABLE: &str = "lb-agent";
const CHAIN: &str = "masquerade";
const COMMENT: &str = "sources of Services with forwarding snat; made by lb-agent";

const NEW_TABLE: u8 = 0;
const NEW_CHAIN: u8 = 3;
const NEW_RULE: u8 = 6;
const DEL_RULE: u8 = 8;
/// `NF_INET_POST_ROUTING`
const POSTROUTING: u32 = 4;
/// Just before `NF_IP_PRI_NAT_SRC`, where others masquerade: the first translation holds.
const PRIORITY: i32 = 99;
/// `NFT_META_MARK`
const META_MARK: u32 = 3;

/// Is it there, with its rule?
pub fn is_there(socket: &mut Socket) -> Result<bool> {
    let rules = tables::rules(socket, Family::Inet, TABLE)?;
    Ok(rules.iter().any(|rule| rule.chain == CHAIN))
}

/// Makes it, or what is missing of it, in one step: connections that it translates go on.
pub fn put(socket: &mut Socket) -> Result<()> {
    let to = |command, flags: u16, attributes: &Attributes| {
        let message = Message::new(NFTABLES, command, Family::Inet.number(), attributes);
        (message, flags)
    };
    let comment = expressions::comment(COMMENT);
    let table = Attributes::default().text(1, TABLE).with(6, &comment);
    let hook = Attributes::default()
        .number(1, POSTROUTING)
        .number(2, PRIORITY.cast_unsigned());
    let chain = Attributes::default()
        .text(1, TABLE)
        .text(3, CHAIN)
        .nest(4, &hook)
        .text(7, "nat");
    let rules = Attributes::default().text(1, TABLE).text(2, CHAIN);
    let rule = rules
        .clone()
        .nest(4, &masquerades_marked())
        .with(7, &comment);
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

/// Removes it, if it is there. Connections that it translates break.
pub fn remove(socket: &mut Socket) -> Result<()> {
    tables::remove_table(socket, Family::Inet, TABLE)
}

/// `meta mark & MARK != 0 masquerade`
fn masquerades_marked() -> Attributes {
    let load = Attributes::default()
        .number(1, REGISTER)
        .number(2, META_MARK);
    let [mask, compare] = has_bits(MARK);
    let masquerade = ("masq", Attributes::default());
    expressions::all(&[("meta", load), mask, compare, masquerade])
}
