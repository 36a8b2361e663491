//! The rule that gives packets the node's address where the programs asked for it: those of
//! Services with `lb-agent.io/forwarding: snat`, to backends on this node.
//!
//! The stack does it, and behind its FORWARD chain, as it does for kube-proxy: whatever judges
//! packets there (network policies above all) sees what it would see with kube-proxy, and answers
//! come back through the kernel's own tracking.

use std::io::Result;

use lb_common::masquerade::MARK;

use super::{
    Socket,
    attributes::Attributes,
    expressions::{self, REGISTER, has_bits},
    tables::{self, Family, OwnTable},
};

/// As `nft list tables` shows it.
pub const TABLE: &str = "lb-agent";
const OWN: OwnTable = OwnTable {
    name: TABLE,
    comment: "sources of Services with forwarding snat; made by lb-agent",
    chain: "masquerade",
    hook: POSTROUTING,
    priority: PRIORITY,
};

/// `NF_INET_POST_ROUTING`
const POSTROUTING: u32 = 4;
/// Just before `NF_IP_PRI_NAT_SRC`, where others masquerade: the first translation holds.
const PRIORITY: i32 = 99;
/// `NFT_META_MARK`
const META_MARK: u32 = 3;

/// Is its table there?
pub fn is_there(socket: &mut Socket) -> Result<bool> {
    let all = tables::tables(socket)?;
    Ok(all.contains(&(Family::Inet, TABLE.to_owned())))
}

/// Is it there as it is made, with no other rule beside it?
pub fn stands(socket: &mut Socket) -> Result<bool> {
    OWN.stands(socket, &masquerades_marked())
}

/// Makes it, or what is missing of it, in one step: connections that it translates go on.
pub fn put(socket: &mut Socket) -> Result<()> {
    OWN.put(socket, &masquerades_marked())
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
