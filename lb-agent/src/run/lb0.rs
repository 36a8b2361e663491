//! `lb0` in the running agent: what is to be routed there as services come and go, and when routes may lead there. Owns what
//! has been said of its troubles; the devices and routes are written by [`crate::lb0`].

use std::{collections::BTreeSet, future::pending, net::IpAddr};

use anyhow::Result;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::{
    lb0::{
        self, Pair, Told, Wanted,
        wanted::{self, Port},
    },
    model::{Cidr, Cluster, Event, ObjectKey},
    node,
    observe::metrics::Metrics,
    settings::values::Lb0Mode,
    sync::Engine,
};

/// What is wanted of it, and how it is.
pub(super) struct Lb0 {
    /// `--service-cidrs`
    given: Vec<Cidr>,
    /// `None` with `--lb0 off`.
    told: Option<mpsc::Receiver<Told>>,
    wanted: watch::Sender<Wanted>,
    pair: Option<Pair>,
    /// Something has come that routes depend on.
    stale: bool,
    /// By the device and its routes, and by what is to be routed.
    problems: [Vec<String>; 2],
}

/// Makes the device, or takes it away where it is not wanted; returns it where it is there.
pub(super) async fn prepare(switch: Lb0Mode) -> Option<Pair> {
    match switch {
        Lb0Mode::On => match lb0::ensure().await {
            Ok(pair) => Some(pair),
            Err(problem) => {
                error!(error = %format!("{problem:#}"), "without lb0: service addresses answer no ping, and sockets alone are balanced");
                None
            }
        },
        Lb0Mode::Off => {
            if let Err(problem) = lb0::remove().await {
                warn!(error = %format!("{problem:#}"), "what is left of lb0 stays");
            }
            None
        }
    }
}

impl Lb0 {
    /// Follows the device, [prepared](prepare) as `pair`, unless it is switched off.
    pub(super) fn new(switch: Lb0Mode, given: Vec<Cidr>, pair: Option<Pair>) -> Result<Self> {
        let (wanted, receiver) = watch::channel(Wanted::default());
        Ok(Self {
            given,
            told: match switch {
                Lb0Mode::On => Some(lb0::follow(receiver)?),
                Lb0Mode::Off => None,
            },
            wanted,
            // Known from the start: what a previous agent attached there stays.
            pair,
            stale: true,
            problems: [Vec::new(), Vec::new()],
        })
    }

    /// The next news of the device; never any when it is switched off.
    pub(super) async fn next(&mut self) -> Option<Told> {
        match &mut self.told {
            Some(told) => told.recv().await,
            None => pending().await,
        }
    }

    /// Takes news in; true: its programs must be looked at.
    pub(super) fn take(&mut self, told: Told, metrics: &Metrics) -> bool {
        let Told { pair, problems } = told;
        self.say(0, problems, metrics);
        let other = self.pair != pair;
        self.pair = pair;
        other
    }

    /// Its devices.
    pub(super) fn pair(&self) -> Option<Pair> {
        self.pair
    }

    /// Its programs run, or do not: without them nothing is routed there.
    pub(super) fn attached(&self, ready: Option<Pair>) {
        self.wanted
            .send_if_modified(|w| std::mem::replace(&mut w.ready, ready) != ready);
    }

    /// An event came.
    pub(super) fn see(&mut self, event: &Event) {
        self.stale |= matches!(
            event,
            Event::Service(_)
                | Event::ServiceGone(_)
                | Event::Services(_)
                | Event::ServiceCidr(_)
                | Event::ServiceCidrGone(_)
                | Event::ServiceCidrs(_)
                | Event::Machine(_)
        );
    }

    /// A sync has ended: routes follow what is planned now. `synced`: everything is listed.
    pub(super) fn refresh(
        &mut self,
        engine: &Engine,
        machine: Option<&node::State>,
        synced: bool,
        metrics: &Metrics,
    ) {
        let known = self.wanted.borrow().whole;
        let (Some(machine), true) = (machine, self.stale || known != synced) else {
            return;
        };
        if self.told.is_none() {
            return;
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
            wanted::apart(cidrs.unwrap_or_default(), &machine.machine.links);
        let (source_v4, source_v6) = machine.sources;
        // The API server is never routed away, whatever a Service says.
        let api: BTreeSet<IpAddr> = cluster
            .slices(&ObjectKey::new("default", "kubernetes"))
            .iter()
            .flat_map(|slice| slice.endpoints.iter())
            .map(|endpoint| endpoint.addr)
            .collect();
        let vips = engine.routed().filter(|vip| !api.contains(vip));
        let networks = wanted::networks(&cidrs, vips);
        let led = engine.led().map(|key| Port {
            addr: key.addr.into(),
            proto: key.proto,
            port: key.port,
        });
        let led = led.filter(|port| !api.contains(&port.addr));
        let (ports, too_many) = wanted::ports(&cidrs, led);
        problems.extend(too_many);
        self.say(1, problems, metrics);
        self.wanted.send_if_modified(|w| {
            let new = Wanted {
                networks,
                ports,
                source_v4,
                source_v6,
                mtu: machine.mtu,
                whole: synced,
                networks_known,
                ready: w.ready,
            };
            let changed = *w != new;
            *w = new;
            changed
        });
    }

    /// Each problem once, when it is new, and when all have gone.
    fn say(&mut self, of: usize, now: Vec<String>, metrics: &Metrics) {
        let Some(known) = self.problems.get_mut(of) else {
            return;
        };
        for problem in now.iter().filter(|p| !known.contains(p)) {
            error!(error = problem, "lb0");
        }
        if now.is_empty() && !known.is_empty() {
            info!("lb0 is as it should be");
        }
        *known = now;
        let wrong = self.problems.iter().map(Vec::len).sum::<usize>();
        metrics
            .lb0_problems
            .set(i64::try_from(wrong).unwrap_or(i64::MAX));
    }
}
