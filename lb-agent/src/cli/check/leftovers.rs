//! What `lb-agent check` says of netfilter: kube-proxy's leftovers, rules and programs of others, chains that drop. Nothing is
//! changed.

use std::path::Path;

use crate::{
    cli::running,
    maps::dir::BpfDir,
    takeover::{connections::Frontends, find::Leftovers, neighbours::Neighbours},
};

use super::{Line, Verdict};

const NAME: &str = "nothing of kube-proxy is left";

/// Each with its remedy.
pub(super) fn lines(bpf_dir: &Path) -> Vec<Line> {
    // Without pins, UDP connections cannot be told from those of others.
    let frontends = Frontends::read(&BpfDir::at(bpf_dir)).unwrap_or_default();
    let mut lines = match Leftovers::find(&frontends) {
        Ok(left) => kube_proxy(&left),
        Err(error) => vec![unknown(NAME, &error)],
    };
    match Neighbours::find(bpf_dir.parent().unwrap_or(bpf_dir)) {
        Ok(found) => lines.extend(neighbours(&found)),
        Err(error) => lines.push(unknown("rules of others", &error)),
    }
    lines
}

fn unknown(name: &str, error: &anyhow::Error) -> Line {
    let remedy = format!("not known: {error:#}; CAP_NET_ADMIN is needed to look");
    Line::new(name, Verdict::Lacks, remedy)
}

fn kube_proxy(left: &Leftovers) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut odd = |name: &str, remedy: String| lines.push(Line::new(name, Verdict::Odd, remedy));
    if left.has_rules() {
        let first = running::kube_proxy().map_or(String::new(), |how| {
            format!("kube-proxy runs here ({how}): stop it first; then ")
        });
        odd(
            "kube-proxy's rules are there",
            format!(
                "{}: {first}`lb-agent cleanup --kube-proxy` removes them, with --dry-run it says what",
                left.in_words()
            ),
        );
    }
    if left.unread() {
        odd("legacy iptables cannot be looked into", left.why_unread());
    }
    if left.pinned() > 0 {
        odd(
            "UDP connections of kube-proxy's",
            format!(
                "{} are tracked, and stay with the backend that they have: `lb-agent cleanup --kube-proxy` forgets them",
                left.pinned()
            ),
        );
    }
    if left.route_localnet() {
        odd(
            "net.ipv4.conf.all.route_localnet is 1",
            "kube-proxy's iptables mode sets it: set it to 0 unless something else needs it"
                .to_owned(),
        );
    }
    match left.kept() {
        Some(0) => odd(
            "table inet lb-agent-keep",
            "no connection needs it any more: the running agent or `lb-agent cleanup --kube-proxy` removes it".to_owned(),
        ),
        Some(n) => odd(
            "table inet lb-agent-keep",
            format!("{n} TCP connections that netfilter translates: the running agent removes it after the last of them"),
        ),
        None => {}
    }
    if lines.is_empty() {
        lines.push(Line::new(NAME, Verdict::Good, ""));
    }
    lines
}

fn neighbours(found: &Neighbours) -> Vec<Line> {
    let mut lines: Vec<Line> = found
        .others
        .iter()
        .map(|(owner, place)| {
            Line::new(
                &format!("{owner} is or was here"),
                Verdict::Odd,
                format!("{place}: see that it does not balance Services too (Cilium: kubeProxyReplacement=false; Calico: bpfEnabled=false), or remove what it left"),
            )
        })
        .collect();
    lines.extend(found.drops.iter().map(|chain| {
        Line::new(
            "packets to pods may be dropped",
            Verdict::Odd,
            format!("{chain} drops what no rule accepts, and kube-proxy's rule that did is not there without it: see that packets to and from pods are accepted, for example `iptables -I FORWARD -d POD-NETWORK -j ACCEPT`, and the same with -s"),
        )
    }));
    if lines.is_empty() {
        lines.push(Line::new(
            "no rules of others in the way",
            Verdict::Good,
            "",
        ));
    }
    lines
}
