//! Whether rules translate what the processes of a network namespace send.

use std::{io::Result, ops::ControlFlow, path::Path};

use super::{
    super::{
        Socket,
        attributes::{Attributes, find, number, text, walk},
        message::Message,
        socket::{Consistency, REREADS},
        subsystem::NFTABLES,
    },
    GET_CHAIN, is_absent,
};

/// `NF_INET_LOCAL_OUT`
const OUTPUT: u32 = 3;
/// Chains of another's network namespace that are read at most. The one that is looked for is a base
/// chain, of which there are few.
const MOST_CHAINS: usize = 4096;
/// The tables of iptables' legacy backend, where the kernel has it.
const LEGACY: [&str; 2] = [
    "/proc/thread-self/net/ip_tables_names",
    "/proc/thread-self/net/ip6_tables_names",
];

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

#[cfg(test)]
mod tests {
    use std::io;

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
