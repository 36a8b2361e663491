//! A table of ours that decides nothing: while it exists, the kernel goes on translating the
//! connections that it tracks.
//!
//! The kernel removes its hooks for translation with the last base chain of type nat, and those for
//! tracking with the last rule that matches a connection's state. Open connections would break at
//! once. One of each keeps both, for IPv4 and IPv6. (Tried on Linux 6.18: one alone is not enough.)

use std::io::Result;

use super::{
    Socket,
    attributes::Attributes,
    expressions::{self, REGISTER, has_bits},
    tables::{self, Family, OwnTable},
};

/// As `nft list tables` shows it.
pub const TABLE: &str = "lb-agent-keep";
const OWN: OwnTable = OwnTable {
    name: TABLE,
    comment: "keeps connections that kube-proxy opened; made by lb-agent",
    chain: "translated-connections",
    hook: PREROUTING,
    priority: PRIORITY,
};

/// `NF_INET_PRE_ROUTING`
const PREROUTING: u32 = 0;
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
    OWN.put(socket, &looks_at_state())
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
