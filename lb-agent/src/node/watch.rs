//! Changes of devices, addresses and routes, followed live, and when everything is listed again.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use anyhow::Result;
use futures::{FutureExt, StreamExt};
use rtnetlink::MulticastGroup;
use tokio::{sync::mpsc, time};

use super::{
    Selection,
    addresses::{addresses, holders, machine},
    choose::{devices, missing, mtu, others, sources, unwatched},
    dump::dump,
    rp_filter,
};
use crate::{
    model::{Device, Machine, Unwatched},
    netlink::Connection,
};

/// What the rest of the agent must know of this machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// For [`Attachments::follow`](crate::hooks::attach::Attachments::follow), by index.
    pub devices: Vec<Device>,
    /// For [`Event::Addresses`](crate::model::Event::Addresses), sorted.
    pub addresses: Vec<(IpAddr, u32)>,
    /// The other devices that lead to more than single hosts.
    pub others: Vec<Unwatched>,
    /// Named devices that are not there, sorted.
    pub missing: Vec<String>,
    /// Names of devices that replies may leave by and that are not among `devices`, sorted.
    pub unwatched: Vec<String>,
    /// For [`Event::Machine`](crate::model::Event::Machine).
    pub machine: Machine,
    /// Which device has which address, sorted.
    pub holders: Vec<(IpAddr, String)>,
    /// The node's preferred addresses: of IPv4, and of IPv6.
    pub sources: (Option<Ipv4Addr>, Option<Ipv6Addr>),
    /// Bytes of the largest packet that every one of the devices carries.
    pub mtu: Option<u32>,
}

/// Changes come in bursts. Everything is listed once for all that come within this time.
const BURST: Duration = Duration::from_millis(50);

/// Lists at most once in this time, however many routes flap.
const PAUSE: Duration = Duration::from_millis(200);

/// Looks again though nothing was announced: announcements can be lost.
const SLOW: Duration = Duration::from_mins(1);

/// Follows the network namespace of the caller: sends the first state at once, then each that
/// differs from the one before. Ends when the receiver is dropped.
pub fn watch(selection: Selection) -> Result<mpsc::Receiver<State>> {
    let (netlink, mut changes) = Connection::subscribe(&[
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ])?;
    let (states, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut last: Option<State> = None;
        let mut filters;
        loop {
            match dump(netlink.handle()).await {
                Ok(facts) => {
                    let mut devices = devices(&facts, &selection);
                    rp_filter::note(&facts, &mut devices);
                    let mut others = others(&facts, &devices);
                    for Unwatched { device, .. } in &mut others {
                        rp_filter::note(&facts, std::slice::from_mut(device));
                    }
                    let all = others.iter().map(|u| &u.device).chain(&devices);
                    filters = rp_filter::Settings::read(all);
                    let state = State {
                        sources: sources(&facts, &devices),
                        mtu: mtu(&facts, &devices),
                        machine: machine(&facts),
                        holders: holders(&facts),
                        unwatched: unwatched(&facts, &devices),
                        devices,
                        others,
                        addresses: addresses(&facts),
                        missing: missing(&facts, &selection),
                    };
                    if last.as_ref() != Some(&state) {
                        tracing::debug!(?state, "this machine");
                        last = Some(state.clone());
                        if states.send(state).await.is_err() {
                            return;
                        }
                    }
                }
                Err(e) => {
                    tracing::warn!(error = format!("{e:#}"), "netlink: will retry");
                    time::sleep(PAUSE).await;
                    continue;
                }
            }
            let dumped = time::Instant::now();
            tokio::select! {
                () = states.closed() => return,
                () = time::sleep(SLOW) => {}
                () = filters.changed() => {}
                change = changes.next() => {
                    if change.is_none() {
                        tracing::error!("netlink: the socket was closed, devices are no longer followed");
                        return;
                    }
                    let quiet = time::Instant::now() + BURST;
                    time::sleep_until(quiet.max(dumped + PAUSE)).await;
                }
            }
            while let Some(Some(_)) = changes.next().now_or_never() {}
        }
    });
    Ok(receiver)
}
