//! A socket whose options use up the memory that the kernel grants them: there is no room for its
//! record. Its answers are still translated, and other sockets are not slower for it for ever.

use anyhow::{Result, ensure};
use lb_common::sock::Agent;
use lb_sys::Map;
use std::time::Duration;
use testbed::{
    agent_output,
    one_node::{OneNode, PORT, WEB_VIP},
    probe::{Family, Kind},
};

/// The answer to a local request.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_lost_record_makes_no_socket_slower_for_ever() -> Result<()> {
    let bed = OneNode::new()?;
    let pin = bed.node.bpf_dir().join("maps/lb_agent");
    let agent: Map<u32, Agent> = Map::new(lb_sys::open_pin(&pin)?)?;
    let read = || -> Result<Agent> { Ok(agent.get(&0)?.unwrap_or(Agent::NONE)) };
    assert_eq!(read()?.records_lost, 0);

    let vip = WEB_VIP.at(Family::V6, PORT);
    let sock = bed.client().socket(Kind::Udp, Family::V6)?;
    sock.fill_options()?;
    let answer = sock.ask_at(vip, "without a record")?;
    assert_eq!(answer.from, Some(vip), "an answer is shown as the VIP's");
    ensure!(agent_output::counted(&bed.node, "sock_storage_failed")? > 0);
    let lost = read()?.records_lost;
    assert_ne!(lost, 0);

    // As if it had been lost soon after the machine's start.
    sock.send_to(vip, "once more")?;
    agent.set(
        &0,
        &Agent {
            records_lost: 1,
            ..read()?
        },
    )?;
    let received = sock.recv_within(SOON)?;
    ensure!(
        received.from.is_some_and(|from| from != vip),
        "{received:?}: it is still looked for"
    );
    // The next request of such a socket renews it.
    let answer = sock.ask_at(vip, "again")?;
    assert_eq!(answer.from, Some(vip));
    ensure!(read()?.records_lost >= lost);
    // A socket with a record never depended on it.
    let sock = bed.client().socket(Kind::Udp, Family::V6)?;
    assert_eq!(sock.ask_at(vip, "with a record")?.from, Some(vip));
    Ok(())
}
