//! From the real kube-proxy to the agent, on a node with open connections and with rules of others,
//! in each of its modes.

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use stage::{Mode, Stage};
use testbed::{
    agent::{self, CHANGE},
    agent_output,
    cluster::Cluster,
    host::Host,
    poll,
    probe::{Kind, Sock},
};

use crate::cluster::common::{agent, answered_by};

mod stage;

/// Enough that some go to each of two backends, all but once in two thousand runs.
const CONNECTIONS: usize = 12;

#[test]
fn connections_of_its_nftables_mode_live_on() -> Result<()> {
    take_over(&Mode {
        name: "nftables",
        legacy: false,
        node: 20,
    })
}

#[test]
fn connections_of_its_iptables_mode_live_on() -> Result<()> {
    take_over(&Mode {
        name: "iptables",
        legacy: false,
        node: 23,
    })
}

#[test]
fn connections_of_its_iptables_mode_by_the_legacy_backend_live_on() -> Result<()> {
    take_over(&Mode {
        name: "iptables",
        legacy: true,
        node: 26,
    })
}

/// A connection with the name of who answers it.
struct Open {
    what: String,
    sock: Sock,
    by: String,
}

impl Open {
    fn all(what: &str, from: &Host, to: SocketAddr) -> Result<Vec<Self>> {
        (0..CONNECTIONS)
            .map(|_| {
                let sock = from.connect(Kind::Tcp, to)?;
                let by = sock.ask("x")?.name;
                Ok(Self {
                    what: format!("{what} to {to}"),
                    sock,
                    by,
                })
            })
            .collect()
    }

    /// Still answered, and by the same one.
    fn lives(&self, when: &str) -> Result<()> {
        let Self { what, sock, by } = self;
        let answer = sock
            .ask("x")
            .with_context(|| format!("{what}, served by {by}, {when}"))?;
        ensure!(
            answer.name == *by,
            "{what}: {by} before, {} {when}",
            answer.name
        );
        Ok(())
    }
}

fn take_over(mode: &Mode) -> Result<()> {
    let cluster = Cluster::shared()?;
    let stage = Stage::new(&cluster, mode)?;
    let node = &stage.node;
    let foreign = stage.rules(node)?;

    let mut theirs = stage.kube_proxy(node)?;
    let twins = stage.kube_proxy(&stage.twin)?;
    let open = open_through_kube_proxy(&stage)?;
    let mapped = stage.ask_mapped()?;
    theirs.check()?;

    let _agent = agent(&cluster, node)?;
    alive(&open, "beside kube-proxy")?;
    // Which process is in our namespace, only root with all rights sees.
    let refused = stage.cleanup_under(&[], &[])?;
    ensure!(
        refused.status.code() == Some(1) && refused.stderr.contains("stop it first"),
        "it must not pull the rules from under a running kube-proxy: {refused:?}"
    );
    theirs.stop()?;
    alive(&open, "without kube-proxy")?;
    let told = agent::verb(node, &["check"]).unwrap_or_else(|e| e.to_string());
    ensure!(told.contains("kube-proxy's rules are there"), "{told}");
    let before = stage.rules(node)?;
    let dry = stage.cleanup(&["--dry-run"])?;
    ensure!(
        dry.status.success() && dry.stdout.contains("would remove"),
        "{dry:?}"
    );
    assert_eq!(stage.rules(node)?, before, "a dry run changes nothing");

    let done = stage.cleanup(&[])?;
    ensure!(done.status.success(), "{done:?}");
    ensure!(done.stdout.contains("table inet lb-agent-keep"), "{done:?}");
    alive(&open, "after the cleanup")?;
    twins.stop()?;
    only_others_are_left(&stage, &foreign)?;
    assert_eq!(stage.ask_mapped()?, mapped);
    new_ones_are_ours(&stage)?;
    alive(&open, "beside new ones")?;
    let again = stage.cleanup(&[])?;
    ensure!(
        again.status.success() && !again.stdout.contains("removed"),
        "{again:?}"
    );
    alive(&open, "after a second cleanup")?;
    drop(open);
    nothing_is_kept(&stage)
}

/// Many, from everywhere, to both backends; and two of UDP.
fn open_through_kube_proxy(stage: &Stage<'_>) -> Result<Vec<Open>> {
    let (node, pod, outside) = (&stage.node, stage.node.pod(0), &stage.outside);
    let (vip, at_node) = stage.frontends()?;
    for (from, to) in [(&**pod, vip), (&**outside, at_node)] {
        poll::until_true(CHANGE, "kube-proxy balances", || {
            Ok(from.ask(Kind::Tcp, to).is_ok())
        })?;
    }
    let mut open = Open::all("a pod", pod, vip)?;
    open.extend(Open::all("the host", node, vip)?);
    open.extend(Open::all("outside", outside, at_node)?);
    let names: BTreeSet<&str> = open.iter().map(|o| o.by.as_str()).collect();
    ensure!(names.len() == 2, "only {names:?} answered");
    pod.ask(Kind::Udp, vip)?;
    outside.ask(Kind::Udp, at_node)?;
    Ok(open)
}

/// As it was before kube-proxy came, and as its own cleanup leaves it; but for the table that keeps
/// the connections.
fn only_others_are_left(stage: &Stage<'_>, foreign: &str) -> Result<()> {
    let left = stage.rules(&stage.node)?;
    ensure!(left.contains("lb-agent-keep"), "{left}");
    let left = without_keeper(&left);
    assert_eq!(left, foreign, "rules of others are as they were");
    stage.cleanup_by_itself(&stage.twin)?;
    let twins = stage.rules(&stage.twin)?;
    assert_eq!(left, twins, "kube-proxy --cleanup on the right");
    let (vip, _) = stage.frontends()?;
    let tracked = stage.node.run(&["conntrack", "-L", "-p", "udp"])?;
    ensure!(
        !tracked.contains(&format!("dst={} ", vip.ip())) && tracked.contains("dport=5300"),
        "entries to Services go, those of others stay:\n{tracked}"
    );
    Ok(())
}

/// By the counters of our programs.
fn new_ones_are_ours(stage: &Stage<'_>) -> Result<()> {
    let (node, names) = (&stage.node, ["near", "far"]);
    let (vip, at_node) = stage.frontends()?;
    let counted = |reason: &str| {
        let name = format!("lb_agent_datapath_events_total{{reason=\"{reason}\"}}");
        agent_output::metric(node, &name)
    };
    let packets = || Ok::<_, anyhow::Error>(counted("pkt_local")? + counted("pkt_forwarded")?);
    let before = (counted("sock_translated")?, packets()?);
    answered_by(node.pod(0), vip, &names)?;
    answered_by(&stage.outside, at_node, &names)?;
    ensure!(
        counted("sock_translated")? > before.0,
        "sockets are not translated by us"
    );
    ensure!(packets()? > before.1, "packets are not translated by us");
    Ok(())
}

/// What keeps connections goes with the last of them, and then there is nothing to do.
fn nothing_is_kept(stage: &Stage<'_>) -> Result<()> {
    poll::until_true(CHANGE, "what keeps connections is gone", || {
        let done = stage.cleanup(&[])?;
        ensure!(done.status.success(), "{done:?}");
        Ok(!stage.rules(&stage.node)?.contains("lb-agent-keep"))
    })?;
    let told = stage.cleanup(&[])?.stdout;
    ensure!(!told.contains("remove"), "{told}");
    Ok(())
}

fn alive(open: &[Open], when: &str) -> Result<()> {
    open.iter().try_for_each(|open| open.lives(when))
}

fn without_keeper(rules: &str) -> String {
    let mut skipping = false;
    let kept = rules.lines().filter(|line| {
        skipping |= line.starts_with("table inet lb-agent-keep");
        let skipped = skipping;
        skipping &= *line != "}";
        !skipped
    });
    kept.fold(String::new(), |all, line| all + line + "\n")
}
