//! The reasons that the socket path alone counts: one call, and what it counts. The packet table
//! takes a reason for shown if it stands in [`CASES`], all of which one test runs.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use lb_agent::maps::{dir::BpfDir, stats::Stats};
use lb_common::Reason;
use nix::libc;
use testbed::{
    addr::{self, Both},
    agent::Start,
    matrix::families,
    node::Node,
    one_node::{self, NODE_PORT, OneNode, PORT, TARGET, WEB_VIP},
    probe::{Family, Kind, errno},
};

/// A call and the one reason that it counts.
pub(crate) struct Case {
    pub(crate) reason: Reason,
    /// What it returns: an errno, or success.
    returns: Option<i32>,
    call: fn(&OneNode, Kind, Family) -> Option<i32>,
}

/// Without endpoints.
const EMPTY_VIP: Both = addr::vip(20);
/// Internal policy Local, and its endpoint is another node's.
const LOCAL_VIP: Both = addr::vip(21);

pub(crate) const CASES: &[Case] = &[
    Case {
        reason: Reason::SockTranslated,
        returns: None,
        call: |bed, kind, family| reach(bed, kind, WEB_VIP.at(family, PORT)),
    },
    Case {
        reason: Reason::SockNoEndpoint,
        returns: Some(libc::ECONNREFUSED),
        call: |bed, kind, family| reach(bed, kind, EMPTY_VIP.at(family, PORT)),
    },
    Case {
        reason: Reason::SockNoLocalEndpoint,
        returns: Some(libc::EHOSTUNREACH),
        call: |bed, kind, family| reach(bed, kind, LOCAL_VIP.at(family, PORT)),
    },
    Case {
        reason: Reason::SockUnknownPort,
        returns: Some(libc::ECONNREFUSED),
        call: |bed, kind, family| reach(bed, kind, WEB_VIP.at(family, 4444)),
    },
    Case {
        reason: Reason::BindHeld,
        returns: Some(libc::EADDRINUSE),
        call: |bed, kind, family| {
            let sock = bed.node.socket(kind, family);
            let at = bed.node.addr().at(family, NODE_PORT);
            errno(sock.and_then(|sock| sock.bind(at)))
        },
    },
];

/// Connects by TCP, and sends by UDP without a connect.
fn reach(bed: &OneNode, kind: Kind, to: SocketAddr) -> Option<i32> {
    if kind == Kind::Tcp {
        return errno(bed.client().connect(kind, to));
    }
    let sock = bed.client().socket(kind, Family::of(&to));
    errno(sock.and_then(|sock| sock.send_to(to, "x")))
}

fn bed() -> Result<OneNode> {
    OneNode::with(Start::new(), |node| {
        let empty = one_node::behind("empty", EMPTY_VIP, &[]).port(PORT, TARGET);
        let local = one_node::behind("local", LOCAL_VIP, &elsewhere(node))
            .port(PORT, TARGET)
            .spec("internalTrafficPolicy: Local");
        vec![one_node::web(node), empty, local]
    })
}

/// The web pods, as if they ran on another node.
fn elsewhere(node: &Node) -> Vec<testbed::manifest::Endpoint> {
    let mut endpoints = one_node::web_pods(node);
    for endpoint in &mut endpoints {
        "another".clone_into(&mut endpoint.node);
    }
    endpoints
}

#[test]
fn each_call_counts_its_reason_and_no_other() -> Result<()> {
    let bed = bed()?;
    let stats = Stats::open(&BpfDir::at(bed.node.bpf_dir()))?;
    let counted = || -> Result<Vec<(Reason, u64)>> {
        let all = stats.reasons()?;
        let of_a_case = |(reason, _): &(Reason, u64)| CASES.iter().any(|c| c.reason == *reason);
        Ok(all.into_iter().filter(of_a_case).collect())
    };
    for case in CASES {
        for family in families() {
            for kind in [Kind::Tcp, Kind::Udp] {
                let what = || format!("{:?} by {kind:?} in {family:?}", case.reason);
                let before = counted()?;
                let returned = (case.call)(&bed, kind, family);
                ensure!(returned == case.returns, "{}: {returned:?}", what());
                for ((reason, now), (_, then)) in counted()?.into_iter().zip(before) {
                    let times = now.checked_sub(then).with_context(what)?;
                    let expected = u64::from(reason == case.reason);
                    ensure!(times == expected, "{}: {reason:?} {times} times", what());
                }
            }
        }
    }
    Ok(())
}
