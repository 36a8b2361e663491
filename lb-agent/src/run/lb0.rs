//! `lb0` in the running agent: what is to be routed there as services come and go, and when routes
//! may lead there. The devices and routes are written by [`crate::lb0`].

use std::{collections::BTreeSet, future::pending, net::IpAddr};

use anyhow::Result;
use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

use super::phase::Phase;
use crate::{
    lb0::{
        self, Desired, PairStatus,
        desired::{self, Port},
    },
    model::{Cidr, Cluster, Event, ObjectKey, VethPair},
    node,
    settings::values::Lb0Mode,
    sync::Engine,
};

/// Its desired and its actual state.
pub(super) struct Lb0 {
    /// `--service-cidrs`
    given: Vec<Cidr>,
    /// `None` with `--lb0 off`.
    status: Option<mpsc::Receiver<PairStatus>>,
    desired: watch::Sender<Desired>,
    pair: Option<VethPair>,
    /// An event was received that routes depend on.
    stale: bool,
}

/// Makes the device, or removes it with `--lb0 off`; returns it where it exists.
pub(super) async fn prepare(switch: Lb0Mode) -> Option<VethPair> {
    match switch {
        Lb0Mode::On => match lb0::ensure().await {
            Ok(pair) => Some(pair),
            Err(problem) => {
                error!(error = %format!("{problem:#}"), "without lb0: service addresses do not answer ping, and only sockets are balanced");
                None
            }
        },
        Lb0Mode::Off => {
            if let Err(problem) = lb0::remove().await {
                warn!(error = %format!("{problem:#}"), "cannot remove lb0");
            }
            None
        }
    }
}

impl Lb0 {
    /// Follows the device, [prepared](prepare) as `pair`, unless it is switched off.
    pub(super) fn new(switch: Lb0Mode, given: Vec<Cidr>, pair: Option<VethPair>) -> Result<Self> {
        let (desired, receiver) = watch::channel(Desired::default());
        Ok(Self {
            given,
            status: match switch {
                Lb0Mode::On => Some(lb0::follow(receiver)?),
                Lb0Mode::Off => None,
            },
            desired,
            // Known from the start, so that what a previous agent attached there stays.
            pair,
            stale: true,
        })
    }

    /// The next status of the device; never one when it is switched off.
    pub(super) async fn next(&mut self) -> Option<PairStatus> {
        match &mut self.status {
            Some(status) => status.recv().await,
            None => pending().await,
        }
    }

    /// Takes in the devices as they are now; true if they are others than before, so that programs
    /// must be attached.
    pub(super) fn set_pair(&mut self, pair: Option<VethPair>) -> bool {
        std::mem::replace(&mut self.pair, pair) != pair
    }

    /// Its devices.
    pub(super) fn pair(&self) -> Option<VethPair> {
        self.pair
    }

    /// The devices on which its programs run; without them nothing is routed there.
    pub(super) fn attached(&self, ready: Option<VethPair>) {
        self.desired
            .send_if_modified(|w| std::mem::replace(&mut w.ready, ready) != ready);
    }

    /// An event was received.
    pub(super) fn received(&mut self, event: &Event) {
        self.stale |= matches!(
            event,
            Event::Service(_)
                | Event::ServiceGone(_)
                | Event::Services(_)
                | Event::ServiceCidr(_)
                | Event::ServiceCidrGone(_)
                | Event::ServiceCidrs(_)
                | Event::Machine(_)
                | Event::Quarantined(_)
        );
    }

    /// A sync has ended: routes follow what is planned now. Returns what cannot be routed, if that
    /// was looked at.
    pub(super) fn refresh(
        &mut self,
        engine: &Engine,
        machine: Option<&node::State>,
        phase: Phase,
    ) -> Option<Vec<String>> {
        let machine = machine?;
        self.status.as_ref()?;
        let synced = phase.is_synced();
        if !self.stale && self.desired.borrow().services_listed == synced {
            return None;
        }
        self.stale = false;
        let cluster: &Cluster = engine.cluster();
        let cidrs = if self.given.is_empty() {
            cluster.service_cidrs()
        } else {
            Some(self.given.clone())
        };
        let networks_known = cidrs.is_some();
        let (cidrs, mut problems) =
            desired::apart(cidrs.unwrap_or_default(), &machine.machine.links);
        let (source_v4, source_v6) = machine.sources;
        // The API server is never routed away, whatever a Service says.
        let api: BTreeSet<IpAddr> = cluster
            .slices(&ObjectKey::new("default", "kubernetes"))
            .iter()
            .flat_map(|slice| slice.endpoints.iter())
            .map(|endpoint| endpoint.addr)
            .collect();
        let vips = engine.routed().filter(|vip| !api.contains(vip));
        let networks = desired::networks(&cidrs, vips);
        let led = engine.routed_ports().map(|key| Port {
            addr: key.addr.into(),
            proto: key.proto,
            port: key.port,
        });
        let led = led.filter(|port| !api.contains(&port.addr));
        let (ports, too_many) = desired::ports(&cidrs, led);
        problems.extend(too_many);
        self.desired.send_if_modified(|w| {
            let new = Desired {
                networks,
                ports,
                source_v4,
                source_v6,
                mtu: machine.mtu,
                services_listed: synced,
                networks_known,
                ready: w.ready,
            };
            let changed = *w != new;
            *w = new;
            changed
        });
        Some(problems)
    }
}
