//! The same objects and the same clients, on a node with the real kube-proxy and on one with the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;

use anyhow::Result;
use k8s_openapi::api::core::v1::Service;
use lb_tests::agent::CHANGE;
use lb_tests::cluster::objects::{cluster_ip, node_port, service};
use lb_tests::cluster::{Cluster, KubeProxy};
use lb_tests::host::Host;
use lb_tests::node::Node;
use lb_tests::poll;
use lb_tests::probe::{Family, Kind};

use crate::common::{agent, ports};

/// Enough to see both of two backends, all but once in a thousand million runs.
const TRIES: usize = 32;

/// Who answered, or how it failed; by question.
type Answers = BTreeMap<String, BTreeSet<String>>;

struct Asked<'a> {
    node: &'a Node,
    outside: &'a Host,
    full: &'a Service,
    empty: &'a Service,
}

impl Asked<'_> {
    fn answers(&self) -> Result<Answers> {
        let (pod, host) = (self.node.pod(0), self.node);
        let port = node_port(self.full)?;
        let node_at = |port| self.node.addr().at(Family::V4, port);
        let at = |service| Ok::<_, anyhow::Error>(SocketAddr::new(cluster_ip(service)?, 80));
        let questions: [(&str, &Host, SocketAddr); 7] = [
            ("pod to ClusterIP", pod, at(self.full)?),
            ("host to ClusterIP", host, at(self.full)?),
            ("pod to ClusterIP without endpoints", pod, at(self.empty)?),
            ("host to ClusterIP without endpoints", host, at(self.empty)?),
            ("pod to NodePort", pod, node_at(port)),
            ("outside to NodePort", self.outside, node_at(port)),
            (
                "outside to NodePort without endpoints",
                self.outside,
                node_at(node_port(self.empty)?),
            ),
        ];
        let mut answers = Answers::new();
        for (question, from, to) in questions {
            for kind in [Kind::Tcp, Kind::Udp] {
                let mut who = BTreeSet::new();
                for _ in 0..TRIES {
                    match from.ask(kind, to) {
                        Ok(answer) => who.insert(answer.name),
                        Err(error) => {
                            // It fails the next time too.
                            who.insert(failure(&error));
                            break;
                        }
                    };
                }
                answers.insert(format!("{kind:?} {question}"), who);
            }
        }
        Ok(answers)
    }
}

/// A rule of netfilter on the way out says EPERM where a socket hook says ECONNREFUSED: a no at once, both.
fn failure(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::PermissionDenied => "refused".to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn the_agent_answers_as_kube_proxy_does() -> Result<()> {
    let cluster = Cluster::shared()?;
    let api = cluster.client();
    let (mut theirs, mut ours) = (cluster.node(8)?, cluster.node(9)?);
    // Its refusals are ICMP errors, of which the kernel sends one a second to a client, or none.
    theirs
        .netns()
        .sysctls(&[("net/ipv4/icmp_ratelimit", "0")])?;
    theirs.join(&ours)?;
    api.add_namespace("referee")?;
    theirs.add_pod("client")?;
    ours.add_pod("client")?;
    let full = api.add_service("referee", service("full", "NodePort", &ports()))?;
    let empty = api.add_service("referee", service("empty", "NodePort", &ports()))?;
    // One backend on each node: local for one, remote for the other.
    cluster.pod("referee", &mut theirs, "full-8", "full", 8080)?;
    cluster.pod("referee", &mut ours, "full-9", "full", 8080)?;
    api.wait_endpoints("referee", "full", "IPv4", 2)?;
    let mut kube_proxy = KubeProxy::start(&cluster, theirs.place(), theirs.name())?;
    let _agent = agent(&cluster, &ours)?;

    let outside = cluster.outside(23)?;
    let (full, empty) = (&full, &empty);
    let referee = Asked {
        node: &theirs,
        outside: &outside,
        full,
        empty,
    };
    let us = Asked {
        node: &ours,
        outside: &outside,
        full,
        empty,
    };
    // The referee's healthz may be a moment ahead of its rules: what it says is settled once both backends answer.
    let both = BTreeSet::from(["full-8".to_owned(), "full-9".to_owned()]);
    let theirs = poll::until(CHANGE, "kube-proxy balances", || {
        let answers = referee.answers()?;
        Ok((answers["Tcp outside to NodePort"] == both).then_some(answers))
    })?;
    let ours = us.answers()?;
    kube_proxy.check()?;
    assert_eq!(ours, theirs, "ours on the left, kube-proxy's on the right");
    assert_eq!(theirs["Tcp pod to ClusterIP"], both);
    assert_eq!(
        theirs["Tcp pod to ClusterIP without endpoints"],
        BTreeSet::from(["refused".to_owned()])
    );
    Ok(())
}
