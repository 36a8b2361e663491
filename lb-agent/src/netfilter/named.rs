//! Objects that rules refer to by name and leave behind: sets of addresses (`ipset`) and accounts
//! (`nfacct`), listed and removed.

use std::{
    io::Result,
    thread,
    time::{Duration, Instant},
};

use super::{
    Socket,
    attributes::{Attributes, find, text},
    message::Message,
    subsystem::{ACCOUNTS, IPSET},
    tables::is_absent,
};

/// The kind of object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// As `ipset list -n` shows them.
    Set,
    /// As `nfacct list` shows them.
    Account,
}

/// The kernel frees the rules of nftables, and what they refer to, a moment after they are gone.
const MOMENT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);

/// Protocol version of ipset, which every kernel since 2.6.39 supports.
const IPSET_PROTOCOL: u8 = 6;
/// Names alone.
const LIST_SETNAME: u32 = 2;

impl Kind {
    /// Their names. None where the kernel does not know the kind.
    pub fn names(self, socket: &mut Socket) -> Result<Vec<String>> {
        let (message, name) = match self {
            Self::Set => {
                let asked = Attributes::default()
                    .with(1, &[IPSET_PROTOCOL])
                    .number(6 | netlink_packet_core::NLA_F_NET_BYTEORDER, LIST_SETNAME);
                (Message::new(IPSET, 7, 0, &asked), 2)
            }
            Self::Account => (Message::new(ACCOUNTS, 1, 0, &Attributes::default()), 1),
        };
        match socket.list(&message) {
            Err(e) if is_absent(&e) => Ok(Vec::new()),
            all => Ok(all?
                .iter()
                .filter_map(|m| find(&m.attributes, name).map(text))
                .collect()),
        }
    }

    /// Removes one that nothing refers to any more.
    pub fn remove(self, socket: &mut Socket, name: &str) -> Result<()> {
        let message = match self {
            Self::Set => {
                let which = Attributes::default()
                    .with(1, &[IPSET_PROTOCOL])
                    .text(2, name);
                Message::new(IPSET, 3, 0, &which)
            }
            Self::Account => {
                let which = Attributes::default().text(1, name);
                Message::new(ACCOUNTS, 3, 0, &which)
            }
        };
        let patience = Instant::now() + MOMENT;
        loop {
            match socket.request(&message) {
                Err(e) if e.raw_os_error() == Some(nix::libc::ENOENT) => return Ok(()),
                Err(e) if is_busy(&e) && Instant::now() < patience => thread::sleep(PAUSE),
                other => return other,
            }
        }
    }
}

/// Some rule refers to it. (ipset has an error number of its own for this, `IPSET_ERR_BUSY`.)
fn is_busy(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::EBUSY | 4100))
}
