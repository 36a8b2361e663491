//! Removal of tables, rules and chains, as far as they are there.

use std::io::{self, Result};

use super::{
    super::{Socket, attributes::Attributes, message::Message, subsystem::NFTABLES},
    DEL_CHAIN, DEL_RULE, DEL_TABLE, Family, Rule,
};

/// Removals in one transaction, so that it fits the socket's buffer.
const CHUNK: usize = 500;

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
