//! Sockets of the node: the agent destroys them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr,
    agent::{CHANGE, Start},
    agent_output,
    manifest::Service,
    matrix::families,
    node::Node,
    one_node::{self, OneNode, PORT, TARGET, WEB},
    poll,
    probe::{Kind, Sock},
};

use super::{POLICY, go_on, is_reset, open_at};

const VIP: testbed::addr::Both = addr::vip(61);

/// The web pods, or all but the first.
fn service(node: &Node, policy: Option<&str>, without_first: bool) -> Service {
    let pods = one_node::web_pods(node);
    let behind = one_node::behind("kept", VIP, &pods[usize::from(without_first)..]);
    let service = behind.port(PORT, TARGET);
    match policy {
        Some(policy) => service.annotate(POLICY, policy),
        None => service,
    }
}

struct Case {
    bed: OneNode,
    policy: Option<&'static str>,
    /// Of the pod that leaves.
    leaving: Vec<(Sock, String)>,
    resolvers: Vec<(Sock, String)>,
    /// Of those that stay.
    staying: Vec<(Sock, String)>,
}

impl Case {
    fn new(start: Start, policy: Option<&'static str>) -> Result<Self> {
        let bed = OneNode::with(start, |node| vec![service(node, policy, false)])?;
        let (mut leaving, mut resolvers, mut staying) = (Vec::new(), Vec::new(), Vec::new());
        for family in families() {
            for kind in [Kind::Tcp, Kind::Udp] {
                for _ in 0..18 {
                    let sock = bed.client().connect(kind, VIP.at(family, PORT))?;
                    let name = sock.ask("before")?.name;
                    match (name == WEB[0], kind) {
                        (true, Kind::Tcp) => leaving.push((sock, name)),
                        (true, _) => resolvers.push((sock, name)),
                        (false, _) => staying.push((sock, name)),
                    }
                }
            }
        }
        ensure!(!leaving.is_empty() && !resolvers.is_empty() && staying.len() > 9);
        Ok(Self {
            bed,
            policy,
            leaving,
            resolvers,
            staying,
        })
    }

    /// The first pod leaves the Service, and goes on.
    fn leave(&self) -> Result<Instant> {
        self.bed
            .apply(&service(&self.bed.node, self.policy, true))?;
        poll::until_true(CHANGE, "it has no more of new connections", || {
            let found = agent_output::frontend(&self.bed.node, "TCP", &VIP.v4.to_string(), PORT)?;
            let pod = self.bed.node.pod(0).addr().v4.to_string();
            let serves = |b: &agent_output::Backend| b.address == pod && b.state == "ready";
            Ok(!found.backends.iter().any(serves))
        })?;
        Ok(Instant::now())
    }

    /// Whatever the policy: a resolver is moved, and who has another backend notices nothing.
    fn end(&self) -> Result<()> {
        wait_reset(&self.resolvers, "a resolver is reset")?;
        go_on(&self.staying)
    }
}

fn wait_reset(socks: &[(Sock, String)], what: &str) -> Result<()> {
    for (sock, _) in socks {
        poll::until_true(CHANGE, what, || is_reset(sock))?;
    }
    Ok(())
}

#[test]
fn by_default_connections_go_on() -> Result<()> {
    for policy in [None, Some("keep")] {
        let case = Case::new(Start::new(), policy)?;
        case.leave()?;
        case.end()?;
        // Long after the resolvers have gone.
        std::thread::sleep(Duration::from_secs(3));
        go_on(&case.leaving)?;
        ensure!(agent_output::metric(&case.bed.node, "lb_agent_tcp_sockets_reset_total")? < 0.5);
    }
    Ok(())
}

#[test]
fn with_reset_they_end_on_both_sides() -> Result<()> {
    let case = Case::new(Start::new(), Some("reset"))?;
    let pod = case.bed.node.pod(0);
    ensure!(open_at(pod)? == case.leaving.len());
    let left = case.leave()?;
    wait_reset(&case.leaving, "a connection is reset")?;
    let took = left.elapsed();
    ensure!(took < Duration::from_secs(4), "{took:?}");
    poll::until_true(CHANGE, "the pod has no connection left", || {
        Ok(open_at(pod)? == 0)
    })?;
    case.end()?;
    #[expect(clippy::cast_precision_loss, reason = "some dozens")]
    let expected = case.leaving.len() as f64;
    let counted = agent_output::metric(&case.bed.node, "lb_agent_tcp_sockets_reset_total")?;
    ensure!((counted - expected).abs() < 0.5, "{counted} of {expected}");
    // The client connects anew, and is served by those that are left.
    for family in families() {
        for _ in 0..9 {
            let answer = case.bed.client().ask(Kind::Tcp, VIP.at(family, PORT))?;
            ensure!(answer.name != WEB[0]);
        }
    }
    Ok(())
}

#[test]
fn with_reset_after_they_have_that_long() -> Result<()> {
    let start = Start::new().args(&["--on-backend-removal", "reset-after=4s"]);
    let case = Case::new(start, None)?;
    let left = case.leave()?;
    while left.elapsed() < Duration::from_millis(2500) {
        go_on(&case.leaving)?;
    }
    case.end()?;
    wait_reset(&case.leaving, "a connection is reset")?;
    let took = left.elapsed();
    ensure!(took > Duration::from_millis(3500), "{took:?}");
    Ok(())
}

#[test]
fn who_is_back_in_time_loses_nothing() -> Result<()> {
    let mut case = Case::new(Start::new(), Some("reset-after=5s"))?;
    case.leave()?;
    case.bed
        .apply(&service(&case.bed.node, case.policy, false))?;
    go_on(&case.staying)?;
    std::thread::sleep(Duration::from_secs(6));
    go_on(&case.leaving)?;
    // Nor by another agent.
    case.bed.agent.take().context("it runs")?.stop()?;
    case.bed.agent = Some(Start::new().on(&case.bed.node)?);
    std::thread::sleep(Duration::from_secs(3));
    go_on(&case.leaving)
}

#[test]
fn a_policy_that_comes_later_holds_for_who_left_before() -> Result<()> {
    let mut case = Case::new(Start::new(), None)?;
    case.leave()?;
    case.end()?;
    go_on(&case.leaving)?;
    case.policy = Some("reset");
    case.bed
        .apply(&service(&case.bed.node, case.policy, true))?;
    wait_reset(&case.leaving, "a connection is reset")?;
    go_on(&case.staying)
}
