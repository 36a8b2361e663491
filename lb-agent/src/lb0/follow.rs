//! The pair and its routes, kept as they are wanted while others may change them. Owns when they are looked at.

use std::time::Duration;

use anyhow::{Context as _, Result};
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

use super::{Wanted, device, routes, rules};
use crate::model::VethPair;

/// Changes of others come in bursts.
const BURST: Duration = Duration::from_millis(100);
/// What failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Looks again though nothing was announced: announcements can be lost.
const SLOW: Duration = Duration::from_mins(1);

/// How the pair is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Told {
    /// The devices, where they are as they should be.
    pub pair: Option<VethPair>,
    /// What is wrong, each with its remedy.
    pub problems: Vec<String>,
}

/// Keeps the pair and its routes until nobody listens any more; tells each state that differs from the one before.
pub fn follow(mut wanted: watch::Receiver<Wanted>) -> Result<mpsc::Receiver<Told>> {
    let (connection, netlink, mut changes) = rtnetlink::new_multicast_connection(&[
        MulticastGroup::Link,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
        MulticastGroup::Ipv4Rule,
        MulticastGroup::Ipv6Rule,
    ])
    .context("cannot open a netlink socket")?;
    tokio::spawn(connection);
    let (told, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut last = None;
        loop {
            let now = wanted.borrow_and_update().clone();
            let state = bring(&netlink, &now).await;
            let again = if state.problems.is_empty() {
                SLOW
            } else {
                RETRY
            };
            let pair = state.pair;
            if last.as_ref() != Some(&state) {
                last = Some(state.clone());
                if told.send(state).await.is_err() {
                    return;
                }
            }
            let again = time::sleep(again);
            tokio::pin!(again);
            loop {
                tokio::select! {
                    () = told.closed() => return,
                    () = &mut again => break,
                    changed = wanted.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        break;
                    }
                    change = changes.next() => {
                        let Some((change, _)) = change else {
                            tracing::error!("netlink: the socket was closed, {DEVICE} is not followed any more");
                            return;
                        };
                        if concerns(&change, pair) {
                            time::sleep(BURST).await;
                            break;
                        }
                    }
                }
            }
            while let Some(Some(_)) = changes.next().now_or_never() {}
        }
    });
    Ok(receiver)
}

/// One look, and what it takes to put things right.
async fn bring(netlink: &Handle, wanted: &Wanted) -> Told {
    let pair = match device::ensure(netlink, wanted.mtu).await {
        Ok(pair) => pair,
        Err(e) => {
            return Told {
                pair: None,
                problems: vec![format!("{e:#}")],
            };
        }
    };
    let problems = if wanted.ready == Some(pair) {
        // The way first, and then who is to go it.
        let routes = routes::bring(netlink, pair, wanted).await;
        let ports = wanted.ports.iter().copied();
        let rules = rules::bring(netlink, ports, wanted.whole).await;
        let problems = [routes, rules].map(|done| done.unwrap_or_else(|e| vec![e]));
        let problems = problems.iter().flatten();
        problems.map(|e| format!("{e:#}")).collect()
    } else {
        // Nothing is routed to where nobody would answer yet.
        Vec::new()
    };
    Told {
        pair: Some(pair),
        problems,
    }
}

/// Is it about one of our devices, or a route or rule that leads there?
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
