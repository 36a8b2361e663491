//! What `lb-agent check` finds in netfilter: kube-proxy's leftovers, rules and programs of other
//! software, chains that drop packets. Never changes anything.

use std::path::Path;

use super::{Line, Verdict, topics::Topic};
use crate::{
    cli::running,
    maps::dir::BpfDir,
    takeover::{connections::Frontends, find::Leftovers, neighbours::Neighbours},
};

const NAME: &str = "nothing of kube-proxy is left";

/// Each with its remedy.
pub(super) fn lines(bpf_dir: &Path) -> Vec<Line> {
    // Without the pins, UDP connections of Services look like any other.
    let frontends = Frontends::read(&BpfDir::at(bpf_dir)).unwrap_or_default();
    let mut lines = match Leftovers::find(&frontends) {
        Ok(left) => kube_proxy(&left),
        Err(error) => vec![unknown(NAME, &error)],
    };
    match Neighbours::find(bpf_dir.parent().unwrap_or(bpf_dir)) {
        Ok(found) => lines.extend(neighbours(&found)),
        Err(error) => lines.push(unknown("rules of other software", &error)),
    }
    lines
}

fn unknown(name: &str, error: &anyhow::Error) -> Line {
    let remedy = format!("unknown: {error:#}; reading netfilter needs CAP_NET_ADMIN");
    Line::new(Topic::OtherSoftware, name, Verdict::Warn, remedy)
}

fn kube_proxy(left: &Leftovers) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut note = |name: &str, remedy: String| {
        lines.push(Line::new(Topic::OtherSoftware, name, Verdict::Note, remedy));
    };
    if left.has_rules() {
        let first = running::kube_proxy().map_or(String::new(), |how| {
            format!("kube-proxy runs here ({how}): stop it first; then ")
        });
        note(
            "kube-proxy's rules are there",
            format!(
                "{}: {first}`lb-agent cleanup --kube-proxy` removes them; with --dry-run it lists them",
                left.in_words()
            ),
        );
    }
    let held = left.held();
    if !held.is_empty() {
        note(
            "devices of this node have cluster IPs",
            format!(
                "{held}: no process listens there, so another proxy or a test may have left them behind; clients without socket hooks reach this node instead of the Services: `lb-agent cleanup --kube-proxy` removes devices of known proxies and addresses of lo, `ip address del` the others"
            ),
        );
    }
    if left.unread() {
        note("cannot read legacy iptables", left.why_unread());
    }
    if left.pinned() > 0 {
        note(
            "UDP connections translated by kube-proxy",
            format!(
                "{} are tracked and keep their backend; `lb-agent cleanup --kube-proxy` removes them from conntrack",
                left.pinned()
            ),
        );
    }
    if left.route_localnet() {
        note(
            "net.ipv4.conf.all.route_localnet is 1",
            "kube-proxy's iptables mode sets it; set it to 0 unless something else needs it"
                .to_owned(),
        );
    }
    match left.kept() {
        Some(0) => note(
            "table inet lb-agent-keep",
            "no connection needs it any more; the running agent or `lb-agent cleanup --kube-proxy` removes it".to_owned(),
        ),
        Some(n) => note(
            "table inet lb-agent-keep",
            format!("{n} TCP connections still translated by netfilter; the running agent removes the table after the last one"),
        ),
        None => {}
    }
    if lines.is_empty() {
        lines.push(Line::ok(Topic::OtherSoftware, NAME));
    }
    lines
}

fn neighbours(found: &Neighbours) -> Vec<Line> {
    let mut lines: Vec<Line> = found
        .others
        .iter()
        .map(|(owner, place)| {
            Line::new(
                Topic::OtherSoftware,
                &format!("{owner} is or was here"),
                Verdict::Note,
                format!("{place}; make sure that it does not load-balance Services too (Cilium: kubeProxyReplacement=false; Calico: bpfEnabled=false), or remove its leftovers"),
            )
        })
        .collect();
    lines.extend(found.drops.iter().map(|chain| {
        Line::new(
            Topic::OtherSoftware,
            "packets to pods may be dropped",
            Verdict::Note,
            format!("{chain} drops packets that no rule accepts, and kube-proxy's accepting rule is gone with kube-proxy; accept packets to and from pods, for example `iptables -I FORWARD -d POD-NETWORK -j ACCEPT`, and the same with -s"),
        )
    }));
    if lines.is_empty() {
        lines.push(Line::ok(
            Topic::OtherSoftware,
            "no rules of other software in the way",
        ));
    }
    lines
}
