//! Rules and programs of other software for the same packets: Cilium's, Calico's, and chains that
//! drop forwarded packets. They are reported and never touched.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result};

use super::{legacy, names};
use crate::netfilter::{
    Socket,
    tables::{self, Chain, Family},
};

/// `NF_INET_FORWARD`
const FORWARD: u32 = 2;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Neighbours {
    /// Whose rules or programs, and where.
    pub others: BTreeSet<(String, String)>,
    /// Chains that drop what is forwarded and no rule accepts.
    pub drops: Vec<String>,
}

impl Neighbours {
    /// Looks at netfilter, and at the pins below this folder of a bpffs.
    pub fn find(pins: &Path) -> Result<Self> {
        let mut socket = Socket::open().context("open a socket to netfilter")?;
        let chains = tables::chains(&mut socket).context("list the chains")?;
        let mut found = Self::default();
        for chain in &chains {
            found.chain(chain);
        }
        for (family, table) in legacy::tables() {
            let Ok(Some(saved)) = legacy::save(family, &table) else {
                continue;
            };
            let place = format!("iptables-legacy {} {table}", family.name());
            for (chain, _) in &saved.rules.chains {
                if let Some(owner) = names::of_others(chain) {
                    found.others.insert((owner.to_owned(), place.clone()));
                }
            }
            if saved.drops.iter().any(|chain| chain == "FORWARD") {
                found.drops.push(format!("{place} FORWARD"));
            }
        }
        found.pins(pins);
        Ok(found)
    }

    fn chain(&mut self, chain: &Chain) {
        let place = format!("table {} {}", chain.family.name(), chain.table);
        if let Some(owner) = names::of_others(&chain.name) {
            self.others.insert((owner.to_owned(), place.clone()));
        }
        // Calico's own nftables mode.
        if chain.table == "calico" {
            self.others.insert(("Calico".to_owned(), place.clone()));
        }
        if chain.hook.is_some_and(|h| h.number == FORWARD && h.drops) {
            let family = match chain.family {
                Family::Ip => "iptables ",
                Family::Ip6 => "ip6tables ",
                Family::Inet => "",
            };
            self.drops.push(format!("{family}{place} {}", chain.name));
        }
    }

    /// Programs of others are known by their pins: walking all that are loaded takes CAP_SYS_ADMIN.
    fn pins(&mut self, folder: &Path) {
        for (place, prefix, owner) in [
            ("", "cilium", "Cilium"),
            ("tc/globals", "cilium_", "Cilium"),
            ("", "calico", "Calico"),
            ("tc", "cali", "Calico"),
            ("tc/globals", "cali_", "Calico"),
        ] {
            let Ok(all) = fs::read_dir(folder.join(place)) else {
                continue;
            };
            let found = all
                .flatten()
                .find(|e| e.file_name().to_string_lossy().starts_with(prefix));
            if let Some(entry) = found {
                self.others
                    .insert((owner.to_owned(), entry.path().display().to_string()));
            }
        }
    }
}
