//! Invariant 1: no reader sees a half-written or foreign service, however fast services change
//! under the connections.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testbed::{
    addr::{self, Both},
    agent::Start,
    agent_output,
    one_node::{self, OneNode, PORT, TARGET, WEB},
    probe::{Family, HammerPlan, Kind},
};

/// How long services change while connections are opened.
const STORM: Duration = Duration::from_secs(8);
const FIRST: Both = addr::vip(100);
const SECOND: Both = addr::vip(101);

#[test]
fn each_connection_lands_on_a_backend_of_its_service_while_services_change() -> Result<()> {
    let service = |bed: &OneNode, name: &str, vip, pods: &[usize]| {
        let all = one_node::web_pods(&bed.node);
        let chosen: Vec<_> = pods.iter().map(|&pod| all[pod].clone()).collect();
        one_node::behind(name, vip, &chosen).port(PORT, TARGET)
    };
    let bed = OneNode::with(Start::new(), |node| {
        let all = one_node::web_pods(node);
        vec![
            one_node::behind("first", FIRST, &all[..2]).port(PORT, TARGET),
            one_node::behind("second", SECOND, &all[2..]).port(PORT, TARGET),
        ]
    })?;
    let hammer = |kind, connected, to: Both, family, allowed: &[&str]| {
        bed.client().hammer(HammerPlan {
            kind,
            connected,
            to: to.at(family, PORT),
            allowed: allowed.iter().map(|&name| name.to_owned()).collect(),
        })
    };
    let loops = [
        hammer(Kind::Tcp, true, FIRST, Family::V4, &WEB[..2])?,
        hammer(Kind::Tcp, true, SECOND, Family::V4, &WEB[2..])?,
        hammer(Kind::Udp, true, FIRST, Family::V6, &WEB[..2])?,
        hammer(Kind::Udp, false, SECOND, Family::V4, &WEB[2..])?,
    ];
    let syncs = || agent_output::metric(&bed.node, "lb_agent_syncs_total{result=\"ok\"}");
    let before = syncs()?;
    let start = Instant::now();
    let mut round = 0_usize;
    while start.elapsed() < STORM {
        // The first one's endpoints change all the time; others come, change and go, and their
        // indices, slots and backend ids with them: whatever is reused too early lands a
        // connection where it does not belong.
        let pods: [&[usize]; 4] = [&[0], &[0, 1], &[1], &[1, 0]];
        bed.apply(&service(&bed, "first", FIRST, pods[round % 4]))?;
        let n = u8::try_from(round % 5)?;
        let other = format!("other-{n}");
        if round % 10 < 5 {
            bed.apply(&service(
                &bed,
                &other,
                addr::vip(110 + n),
                &[usize::from(n) % 3, 2],
            ))?;
        } else {
            bed.node.remove_manifest(&format!("{other}.yaml"))?;
        }
        round += 1;
        // As fast as the agent can follow, and no faster: coalesced changes are not switches.
        let seen = syncs()?;
        let until = Instant::now() + Duration::from_millis(200);
        while syncs()? <= seen && Instant::now() < until {}
    }
    let switched = syncs()? - before;
    ensure!(switched > 15.0, "only {switched} syncs in {round} rounds");
    for (index, hammer) in loops.into_iter().enumerate() {
        let tally = hammer.stop()?;
        ensure!(
            tally.failures.is_empty() && tally.attempts > 100,
            "loop {index} in {round} rounds: {tally:?}"
        );
        if index == 0 {
            ensure!(
                tally.answers.len() == 2,
                "only {:?} answered",
                tally.answers
            );
        }
    }
    Ok(())
}
