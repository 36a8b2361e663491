//! Packets from outside whose backend goes: flows of UDP through a node port move at once,
//! connections of TCP stay.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr,
    agent::{CHANGE, Start},
    endpoint_change::{Change, EndpointChange, Expected, serve_elsewhere},
    lan::Offloads,
    matrix::families,
    node::PodNetwork,
    poll,
    probe::{Family, Kind, Sock},
    two_nodes::TwoNodes,
};

/// One look for an answer that may not come.
const LOOK: Duration = Duration::from_millis(100);
/// Cases have the VIPs from here on.
const VIPS: u8 = 60;

/// Cases with backends where the client connects, and on the other node.
fn cases(bed: &TwoNodes) -> Result<Vec<(&'static str, EndpointChange)>> {
    let mut cases = Vec::new();
    for (place, node) in [("local", &bed.near), ("remote", &bed.far)] {
        for pod in node.pods() {
            serve_elsewhere(pod)?;
        }
        let ends = bed.endpoints(node);
        for change in Change::ALL {
            let n = u8::try_from(cases.len())?;
            let two = [ends[0].clone(), ends[1].clone()];
            cases.push((
                place,
                EndpointChange::new(change, n, addr::vip(VIPS + n), two),
            ));
        }
    }
    for (_, case) in &cases {
        bed.apply(&case.before())?;
    }
    Ok(cases)
}

/// A socket of the client's, and what it is to be checked with.
struct Flow<'a> {
    what: String,
    case: &'a EndpointChange,
    udp: Sock,
    tcp: Sock,
}

impl<'a> Flow<'a> {
    fn open(bed: &TwoNodes, place: &str, case: &'a EndpointChange, family: Family) -> Result<Self> {
        let to = bed.near.addr().at(family, case.node_port);
        let what = format!("{:?} {place} {to}", case.change);
        let open = |kind| -> Result<Sock> {
            poll::until(CHANGE, "the node port answers", || {
                let sock = bed.client.connect(kind, to)?;
                ensure!(sock.ask("before")?.name == case.first());
                Ok(Some(sock))
            })
            .with_context(|| what.clone())
        };
        let (udp, tcp) = (open(Kind::Udp)?, open(Kind::Tcp)?);
        // Both sides have confirmed it: it is no new flow any more.
        udp.ask("again")?;
        Ok(Self {
            what,
            case,
            udp,
            tcp,
        })
    }

    /// The maps have changed: the very next packet shows it.
    fn check(&self) -> Result<()> {
        let Self {
            what,
            case,
            udp,
            tcp,
        } = self;
        let asked = udp.ask("after");
        match case.expected() {
            Expected::Keeps => ensure!(asked?.name == case.first(), "{what}"),
            Expected::Goes(name) => {
                let answer = asked.with_context(|| what.clone())?;
                ensure!(answer.name == name, "{what}: {answer:?}");
            }
            Expected::Refused => {
                let refused = asked.err().and_then(|error| error.raw_os_error());
                ensure!(refused == Some(libc::ECONNREFUSED), "{what}: {refused:?}");
            }
            Expected::Nothing => {
                let again = udp.send("again").and_then(|()| udp.recv_within(LOOK));
                ensure!(
                    asked.is_err() && again.is_err(),
                    "{what}: {asked:?} {again:?}"
                );
            }
        }
        let answer = tcp.ask("after").with_context(|| format!("TCP {what}"))?;
        ensure!(answer.name == case.first(), "TCP {what}: {answer:?}");
        Ok(())
    }
}

fn every_change(start: Start) -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, start)?;
    let cases = cases(&bed)?;
    for (place, case) in &cases {
        let mut flows = Vec::new();
        for family in families() {
            flows.push(Flow::open(&bed, place, case, family)?);
        }
        case.happen(&[&bed.near])?;
        for flow in &flows {
            flow.check()?;
        }
    }
    Ok(())
}

#[test]
fn flows_by_tc_move_and_connections_stay() -> Result<()> {
    every_change(Start::new())
}

#[test]
fn flows_by_xdp_move_and_connections_stay() -> Result<()> {
    every_change(Start::new().xdp("eth0"))
}
