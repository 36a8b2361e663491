//! A socket that chooses `lb0` itself, where its packets would get an address of the node's.

use std::time::Duration;

use anyhow::{Result, bail};
use testbed::{
    agent::CHANGE,
    agent_output,
    matrix::{Case, matrix},
    one_node::{OneNode, PORT, WEB, WEB_VIP},
    poll,
    probe::Kind,
};

use crate::lb0::common::routed;

#[test]
fn a_socket_that_chooses_the_device_reaches_nobody() -> Result<()> {
    let bed = OneNode::new()?;
    routed(&bed.node)?;
    for Case { family, kind } in matrix() {
        let to = WEB_VIP.at(family, PORT);
        let before = agent_output::counted(&bed.node, "pkt_device_chosen")?;
        let sock = bed.node.socket(kind, family)?;
        sock.bind_device("lb0")?;
        if kind == Kind::Tcp {
            sock.nonblocking()?;
            match sock.connect(to) {
                Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
                other => bail!("{to}: {other:?}"),
            }
        } else {
            sock.send_to(to, "hidden")?;
            match sock.recv_within(Duration::from_millis(300)) {
                Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => {}
                other => bail!("{to}: {other:?}, not silence"),
            }
        }
        poll::until_true(CHANGE, "it is counted", || {
            Ok(agent_output::counted(&bed.node, "pkt_device_chosen")? > before)
        })?;
        // Whoever does not choose is served.
        assert!(WEB.contains(&bed.node.ask(kind, to)?.name.as_str()));
    }
    Ok(())
}
