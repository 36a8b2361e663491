//! Keeps the pair and its routes as desired while other programs may change them.

use std::{fs, io::ErrorKind, time::Duration};

use anyhow::Result;
use futures::{FutureExt as _, StreamExt as _};
use lb_common::lb0::{DEVICE, PEER};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{RouteNetlinkMessage, link::LinkAttribute, route::RouteAttribute},
};
use tokio::{
    sync::{mpsc, watch},
    time,
};

use super::{
    Desired, device, routes,
    rules::{self, Stray},
};
use crate::{
    model::VethPair,
    netlink::{Announcements, Connection},
};

/// Changes of other programs come in bursts.
const BURST: Duration = Duration::from_millis(100);
/// What failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Looks again though nothing was announced: announcements can be lost.
const SLOW: Duration = Duration::from_mins(1);

/// State of the pair and of its routes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PairStatus {
    /// The devices, if they are as they should be.
    pub pair: Option<VethPair>,
    /// What is wrong, each with its remedy.
    pub problems: Vec<String>,
}

/// Keeps the pair and its routes as desired until the receiver is dropped, and sends each status
/// that differs from the one before.
pub fn follow(mut desired: watch::Receiver<Desired>) -> Result<mpsc::Receiver<PairStatus>> {
    let (netlink, mut changes) = Connection::subscribe(&[
        MulticastGroup::Link,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
        MulticastGroup::Ipv4Rule,
        MulticastGroup::Ipv6Rule,
    ])?;
    let (statuses, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut last = None;
        loop {
            let now = desired.borrow_and_update().clone();
            let status = update(netlink.handle(), &now).await;
            let pause = if status.problems.is_empty() {
                SLOW
            } else {
                RETRY
            };
            let pair = status.pair;
            if last.as_ref() != Some(&status) {
                last = Some(status.clone());
                if statuses.send(status).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = statuses.closed() => return,
                () = time::sleep(pause) => {}
                changed = desired.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                end = next_change(&mut changes, pair) => {
                    if end == Stream::Closed {
                        tracing::error!("netlink: the socket was closed, {DEVICE} is no longer followed");
                        return;
                    }
                    time::sleep(BURST).await;
                }
            }
            while let Some(Some(_)) = changes.next().now_or_never() {}
        }
    });
    Ok(receiver)
}

/// State of the stream of announcements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stream {
    Open,
    Closed,
}

/// Returns when a change is announced that concerns the pair, or when no more can be announced.
async fn next_change(changes: &mut Announcements, pair: Option<VethPair>) -> Stream {
    while let Some((change, _)) = changes.next().await {
        if concerns(&change, pair) {
            return Stream::Open;
        }
    }
    Stream::Closed
}

/// Compares once, and writes what differs.
async fn update(handle: &Handle, desired: &Desired) -> PairStatus {
    let pair = match device::ensure(handle, desired.mtu).await {
        Ok(pair) => pair,
        Err(e) => {
            return PairStatus {
                pair: None,
                problems: vec![format!("{e:#}")],
            };
        }
    };
    // The kernel refuses each route of a family that the device does not have: one word instead.
    let rest = ipv6_is_off().then(|| desired.without_ipv6()).flatten();
    let desired = rest.as_ref().unwrap_or(desired);
    let mut problems = if desired.ready == Some(pair) {
        // Routes first, then the rules that send packets there.
        let routes = routes::update(handle, pair, desired).await;
        let ports = desired.ports.iter().copied();
        let stray = if desired.services_listed {
            Stray::Remove
        } else {
            Stray::Keep
        };
        let rules = rules::update(handle, ports, stray).await;
        let problems = [routes, rules].map(|done| done.unwrap_or_else(|e| vec![e]));
        let problems = problems.iter().flatten();
        problems.map(|e| format!("{e:#}")).collect()
    } else {
        // Without programs on the devices nothing would answer there.
        Vec::new()
    };
    if rest.is_some() {
        problems.push(format!(
            "IPv6 is switched off on {DEVICE} (net.ipv6.conf.{DEVICE}.disable_ipv6): IPv4 is served, and IPv6 addresses of Services do not answer clients without socket hooks until it is switched on"
        ));
    }
    PairStatus {
        pair: Some(pair),
        problems,
    }
}

/// `net.ipv6.conf.*.disable_ipv6`, or a kernel without IPv6.
fn ipv6_is_off() -> bool {
    let text = fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{DEVICE}/disable_ipv6"));
    text.map_or_else(
        |e| e.kind() == ErrorKind::NotFound,
        |text| text.trim() != "0",
    )
}

/// Whether a change is about one of our devices, or about a route or rule that leads there.
fn concerns(change: &NetlinkMessage<RouteNetlinkMessage>, pair: Option<VethPair>) -> bool {
    let NetlinkPayload::InnerMessage(message) = &change.payload else {
        return true;
    };
    match message {
        RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => link
            .attributes
            .iter()
            .any(|a| matches!(a, LinkAttribute::IfName(name) if name == DEVICE || name == PEER)),
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
            let ours = |index: &u32| pair.is_some_and(|p| *index == p.device || *index == p.peer);
            route
                .attributes
                .iter()
                .any(|a| matches!(a, RouteAttribute::Oif(index) if ours(index)))
        }
        RouteNetlinkMessage::NewRule(rule) | RouteNetlinkMessage::DelRule(rule) => {
            rules::is_ours(rule)
        }
        _ => false,
    }
}
