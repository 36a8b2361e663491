//! iptables by its legacy backend, which only its own tools can change safely. Owns calling them,
//! reading what they save, and the lines that they restore.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::ruleset::{Removal, Ruleset};
use crate::netfilter::tables::Family;

/// A table as it was saved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Saved {
    pub(super) family: Family,
    pub(super) table: String,
    pub(super) rules: Ruleset,
    /// The rules' own lines, `-A …`, in the order of `rules.rules`.
    lines: Vec<String>,
    /// Built-in chains whose last word is DROP.
    pub(super) drops: Vec<String>,
}

/// The legacy tables of this network namespace. The kernel names them only to root.
pub(super) fn tables() -> Vec<(Family, String)> {
    let mut all = Vec::new();
    for (family, file) in [
        (Family::Ip, "ip_tables_names"),
        (Family::Ip6, "ip6_tables_names"),
    ] {
        // Absent where the kernel has no legacy backend.
        let names = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        all.extend(names.lines().map(|name| (family, name.to_owned())));
    }
    all
}

/// What to do where the tools are missing.
pub(super) const TOOLS: &str = "install iptables with its legacy tools (iptables-legacy-save, iptables-legacy-restore and their ip6 twins) where lb-agent runs, or run `kube-proxy --cleanup` of your kube-proxy's image";

/// Reads one table. `None` without tools.
pub(super) fn save(family: Family, table: &str) -> Result<Option<Saved>> {
    let Some(program) = program(family, "save") else {
        return Ok(None);
    };
    let output = Command::new(&program)
        .args(["-t", table])
        .output()
        .with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!(
            "{program}: {} (it needs CAP_NET_ADMIN and CAP_NET_RAW)",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(Some(parse(
        family,
        table,
        &String::from_utf8_lossy(&output.stdout),
    )))
}

/// Removes what `removal` says. A table that has changed since it was saved is looked at once more:
/// what is gone from it is as good as removed.
pub(super) fn remove_all(saved: &Saved, removal: &Removal) -> Result<()> {
    let done = remove(saved, removal);
    if done.is_ok() {
        return done;
    }
    match save(saved.family, &saved.table)? {
        Some(now) if now.rules != saved.rules => {
            let removal = Removal::of(&now.rules);
            if removal.is_empty() {
                return Ok(());
            }
            remove(&now, &removal)
        }
        _ => done,
    }
}

/// Removes what `removal` says, at once.
fn remove(saved: &Saved, removal: &Removal) -> Result<()> {
    let program = program(saved.family, "restore").with_context(|| TOOLS.to_owned())?;
    let text = restore(saved, removal);
    let mut child = Command::new(&program)
        .args(["--noflush", "-w", "5"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {program}"))?;
    let mut stdin = child.stdin.take().context("no pipe to iptables-restore")?;
    stdin
        .write_all(text.as_bytes())
        .with_context(|| format!("write to {program}"))?;
    drop(stdin);
    let output = child
        .wait_with_output()
        .with_context(|| format!("wait for {program}"))?;
    if !output.status.success() {
        bail!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// The legacy tool for this, by its own name or because the plain name means it.
fn program(family: Family, verb: &str) -> Option<String> {
    let six = if family == Family::Ip6 { "ip6" } else { "ip" };
    let plain = format!("{six}tables-{verb}");
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let by_name = format!("{six}tables-legacy-{verb}");
    if version(&by_name).is_some() {
        return Some(by_name);
    }
    version(&plain).filter(|v| !v.contains("nf_tables"))?;
    Some(plain)
}

fn parse(family: Family, table: &str, text: &str) -> Saved {
    let mut saved = Saved {
        family,
        table: table.to_owned(),
        rules: Ruleset::default(),
        lines: Vec::new(),
        drops: Vec::new(),
    };
    for line in text.lines() {
        if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ');
            let (name, policy) = (words.next().unwrap_or_default(), words.next());
            // A user-defined chain has no policy.
            saved
                .rules
                .chains
                .push((name.to_owned(), policy != Some("-")));
            if policy == Some("DROP") {
                saved.drops.push(name.to_owned());
            }
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let words: Vec<&str> = rule.split(' ').collect();
            let target = words
                .windows(2)
                .rev()
                .find(|pair| pair[0] == "-j" || pair[0] == "-g")
                .map(|pair| pair[1].to_owned());
            let chain = words.first().copied().unwrap_or_default().to_owned();
            saved.rules.rules.push((chain, target));
            saved.lines.push(line.to_owned());
        }
    }
    saved
}

/// Input for `iptables-restore --noflush`.
fn restore(saved: &Saved, removal: &Removal) -> String {
    // Naming a chain empties it.
    let emptied = removal.chains.iter().map(|c| format!(":{c} - [0:0]"));
    let jumps = removal.jumps.iter().filter_map(|i| saved.lines.get(*i));
    let deleted = jumps.map(|line| line.replacen("-A ", "-D ", 1));
    let removed = removal.chains.iter().map(|c| format!("-X {c}"));
    let lines: Vec<String> = emptied.chain(deleted).chain(removed).collect();
    format!("*{}\n{}\nCOMMIT\n", saved.table, lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAT: &str = "# made up\n*nat\n:PREROUTING ACCEPT [1:60]\n:FORWARD DROP [0:0]\n:KUBE-SERVICES - [0:0]\n:MINE - [0:0]\n\
-A PREROUTING -m comment --comment \"say -j KUBE-SERVICES twice\" -j MINE\n\
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
-A KUBE-SERVICES -d 10.96.0.1/32 -j ACCEPT\n-A MINE -g PREROUTING\nCOMMIT\n";

    #[test]
    fn a_saved_table_is_read() {
        let saved = parse(Family::Ip, "nat", NAT);
        assert_eq!(
            saved.rules.chains.iter().filter(|(_, base)| *base).count(),
            2
        );
        assert_eq!(saved.drops, ["FORWARD"]);
        let targets: Vec<&str> = saved
            .rules
            .rules
            .iter()
            .filter_map(|(_, t)| t.as_deref())
            .collect();
        assert_eq!(targets, ["MINE", "KUBE-SERVICES", "ACCEPT", "PREROUTING"]);
    }

    #[test]
    fn its_own_lines_take_a_rule_away() {
        let saved = parse(Family::Ip, "nat", NAT);
        let removal = Removal::of(&saved.rules);
        assert_eq!(
            restore(&saved, &removal),
            "*nat\n:KUBE-SERVICES - [0:0]\n-D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n-X KUBE-SERVICES\nCOMMIT\n"
        );
    }
}
