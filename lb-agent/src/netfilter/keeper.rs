//! A table of ours that decides nothing: while it exists, the kernel goes on translating the
//! connections that it tracks.
//!
//! The kernel removes its hooks for translation with the last base chain of type nat, and those for
//! tracking with the last rule that matches a connection's state. Open connections would break at
//! once. One of each keeps both, for IPv4 and IPv6. (Tried on Linux 6.18: one alone is not enough.)

use std::io::Result;

use netlink_packet_core::NLM_F_CREATE;

use super::{
    Socket,
    attributes::Attributes,
    expressions::{self, REGISTER, has_bits},
    message::Message,
    subsystem::NFTABLES,
    tables::{self, Family},
};

/// As `nft list tables` shows it.
pub const TABLE: &str = "lb-agent-keep";
const CHAIN: &str = "translated-connections";
const COMMENT: &str = "keeps connections that kube-proxy opened; made by lb-agent";

const NEW_TABLE: u8 = 0;
const NEW_CHAIN: u8 = 3;
const NEW_RULE: u8 = 6;
/// Where kube-proxy and iptables translate destinations: `NF_IP_PRI_NAT_DST`.
const PRIORITY: i32 = -100;
/// Bits of a connection's state: established, related.
const STATES: u32 = 2 | 4;

/// Whether it exists.
pub fn is_there(socket: &mut Socket) -> Result<bool> {
    let all = tables::tables(socket)?;
    Ok(all.contains(&(Family::Inet, TABLE.to_owned())))
}

/// Creates it, unless it exists.
pub fn put(socket: &mut Socket) -> Result<()> {
    if is_there(socket)? {
        return Ok(());
    }
    let to = |command, attributes: &Attributes| {
        let message = Message::new(NFTABLES, command, Family::Inet.number(), attributes);
        (message, NLM_F_CREATE)
    };
    let comment = expressions::comment(COMMENT);
    let table = Attributes::default().text(1, TABLE).with(6, &comment);
    let hook = Attributes::default()
        .number(1, 0)
        .number(2, PRIORITY.cast_unsigned());
    let chain = Attributes::default()
        .text(1, TABLE)
        .text(3, CHAIN)
        .nest(4, &hook)
        .text(7, "nat");
    let rule = Attributes::default()
        .text(1, TABLE)
        .text(2, CHAIN)
        .nest(4, &looks_at_state())
        .with(7, &comment);
    socket.transact(
        NFTABLES,
        &[
            to(NEW_TABLE, &table),
            to(NEW_CHAIN, &chain),
            to(NEW_RULE, &rule),
        ],
    )
}

/// Removes it.
pub fn remove(socket: &mut Socket) -> Result<()> {
    tables::remove_table(socket, Family::Inet, TABLE)
}

/// `ct state established,related`, and no verdict.
fn looks_at_state() -> Attributes {
    // Key 0 is the state.
    let load = Attributes::default().number(1, REGISTER).number(2, 0);
    let [mask, compare] = has_bits(STATES);
    expressions::all(&[("ct", load), mask, compare])
}
