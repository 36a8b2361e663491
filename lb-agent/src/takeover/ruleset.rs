//! From the chains and jumps of one table to what must be removed of it (pure): kube-proxy's own,
//! except for chains that rules of other software jump to.

use std::collections::BTreeSet;

use super::names::{MARK, MASQUERADES, is_chain, is_entry, of_services};

/// A table of iptables, as far as its rules jump.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ruleset {
    /// Name, and whether packets enter it by themselves.
    pub(super) chains: Vec<(String, bool)>,
    /// The chain of each rule, and the chain that it jumps to.
    pub(super) rules: Vec<(String, Option<String>)>,
}

/// What is to be removed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Removal {
    /// Indices of the rules of built-in chains.
    pub(super) jumps: Vec<usize>,
    /// Chains, with all their rules.
    pub(super) chains: Vec<String>,
    /// Chains that stay, and the chains of others that lead there.
    pub(super) kept: Vec<(String, String)>,
}

impl Removal {
    /// Of this table.
    pub(super) fn of(set: &Ruleset) -> Self {
        let ours =
            |name: &str| set.chains.iter().any(|(c, base)| c == name && !base) && is_chain(name);
        let base = |name: &str| set.chains.iter().any(|(c, base)| c == name && *base);
        let jumps = || {
            let all = set.rules.iter().enumerate();
            all.filter_map(|(i, (from, to))| Some((i, from.as_str(), to.as_deref()?)))
                .filter(|(_, _, to)| is_chain(to))
        };
        let kept: Vec<(String, String)> = jumps()
            // A jump from a built-in chain to where kube-proxy never jumps from there is another
            // program's rule.
            .filter(|(_, from, to)| {
                if base(from) {
                    !is_entry(to)
                } else {
                    !is_chain(from)
                }
            })
            .map(|(_, from, to)| (to.to_owned(), from.to_owned()))
            .collect();
        let mut stays: BTreeSet<&str> = kept.iter().map(|(to, _)| to.as_str()).collect();
        loop {
            let before = stays.len();
            let further: Vec<&str> = jumps()
                .filter(|(_, from, _)| stays.contains(from))
                .map(|(_, _, to)| to)
                .collect();
            stays.extend(further);
            // A mark without the chain that masquerades would be of no use.
            if stays.contains(MARK) {
                stays.insert(MASQUERADES);
            }
            if stays.len() == before {
                break;
            }
        }
        Self {
            jumps: jumps()
                .filter(|(_, from, to)| {
                    let stays = *to == MASQUERADES && stays.contains(MASQUERADES);
                    base(from) && is_entry(to) && !stays
                })
                .map(|(i, _, _)| i)
                .collect(),
            chains: set
                .chains
                .iter()
                .map(|(name, _)| name)
                .filter(|name| ours(name) && !stays.contains(name.as_str()))
                .cloned()
                .collect(),
            kept,
        }
    }

    /// Nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.jumps.is_empty() && self.chains.is_empty()
    }

    /// Chains by name, those of Services by kind and number: `KUBE-SERVICES, 25 KUBE-SEP-…`.
    pub(super) fn chains_in_words(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut counted: std::collections::BTreeMap<&str, usize> =
            std::collections::BTreeMap::new();
        for name in &self.chains {
            match of_services(name) {
                Some(kind) => *counted.entry(kind).or_default() += 1,
                None => words.push(name.clone()),
            }
        }
        words.extend(counted.iter().map(|(kind, n)| format!("{n} {kind}…")));
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(chains: &[&str], rules: &[(&str, &str)]) -> Ruleset {
        Ruleset {
            chains: chains
                .iter()
                .map(|c| ((*c).to_owned(), !c.contains('-') && c.to_uppercase() == **c))
                .collect(),
            rules: rules
                .iter()
                .map(|(from, to)| {
                    (
                        (*from).to_owned(),
                        (!to.is_empty()).then(|| (*to).to_owned()),
                    )
                })
                .collect(),
        }
    }

    const NAT: [&str; 7] = [
        "PREROUTING",
        "POSTROUTING",
        "KUBE-SERVICES",
        "KUBE-MARK-MASQ",
        "KUBE-POSTROUTING",
        "KUBE-SVC-BUFWEUT7I6HQ2XBP",
        "cni-setmark",
    ];
    const JUMPS: [(&str, &str); 5] = [
        ("PREROUTING", "KUBE-SERVICES"),
        ("POSTROUTING", "KUBE-POSTROUTING"),
        ("KUBE-SERVICES", "KUBE-SVC-BUFWEUT7I6HQ2XBP"),
        ("KUBE-SVC-BUFWEUT7I6HQ2XBP", "KUBE-MARK-MASQ"),
        ("PREROUTING", "cni-setmark"),
    ];

    #[test]
    fn its_jumps_and_chains_go_and_those_of_others_stay() {
        let removal = Removal::of(&set(&NAT, &JUMPS));
        assert_eq!(removal.jumps, [0, 1]);
        assert_eq!(removal.chains, NAT[2..6]);
        assert_eq!(removal.kept, []);
        assert_eq!(
            removal.chains_in_words(),
            "KUBE-SERVICES, KUBE-MARK-MASQ, KUBE-POSTROUTING, 1 KUBE-SVC-…"
        );
    }

    #[test]
    fn a_mark_that_other_software_uses_stays_with_the_chain_that_masquerades() {
        let rules = [&JUMPS[..], &[("cni-setmark", "KUBE-MARK-MASQ")]].concat();
        let removal = Removal::of(&set(&NAT, &rules));
        assert_eq!(removal.jumps, [0]);
        assert_eq!(
            removal.chains,
            ["KUBE-SERVICES", "KUBE-SVC-BUFWEUT7I6HQ2XBP"]
        );
        assert_eq!(
            removal.kept,
            [("KUBE-MARK-MASQ".to_owned(), "cni-setmark".to_owned())]
        );
    }

    #[test]
    fn what_a_kept_chain_leads_to_is_kept() {
        let rules = [&JUMPS[..], &[("cni-setmark", "KUBE-SVC-BUFWEUT7I6HQ2XBP")]].concat();
        let removal = Removal::of(&set(&NAT, &rules));
        assert_eq!(removal.chains, ["KUBE-SERVICES"]);
    }

    #[test]
    fn rules_of_other_software_in_built_in_chains_stay_with_their_chains() {
        let rules = [&JUMPS[..], &[("PREROUTING", "KUBE-MARK-MASQ")]].concat();
        let removal = Removal::of(&set(&NAT, &rules));
        assert_eq!(removal.jumps, [0]);
        assert_eq!(
            removal.chains,
            ["KUBE-SERVICES", "KUBE-SVC-BUFWEUT7I6HQ2XBP"]
        );
        assert_eq!(
            removal.kept,
            [("KUBE-MARK-MASQ".to_owned(), "PREROUTING".to_owned())]
        );

        let rules = [&JUMPS[..], &[("PREROUTING", "KUBE-SVC-BUFWEUT7I6HQ2XBP")]].concat();
        let removal = Removal::of(&set(&NAT, &rules));
        assert_eq!(removal.jumps, [0]);
        assert_eq!(removal.chains, ["KUBE-SERVICES"]);
    }

    #[test]
    fn a_table_without_it_is_left_alone() {
        let removal = Removal::of(&set(
            &["INPUT", "KUBE-FIREWALL"],
            &[("INPUT", "KUBE-FIREWALL")],
        ));
        assert!(removal.is_empty());
    }
}
