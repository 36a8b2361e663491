//! What is wrong with this machine, or with what was asked of it: devices, programs, maps, addresses, its zone. Owns that each
//! is logged once, when it is new, told by an Event on the Node, and shown as a metric as long as it lasts.

use std::net::IpAddr;

use anyhow::Error;
use prometheus_client::metrics::gauge::Gauge;
use tracing::{error, info, warn};

use crate::{
    model::{Cluster, Event, Slice},
    settings::values::NodePortAddress,
    sync::Usage,
};

use super::{metrics::Metrics, node_events::Announce};

/// What has been said already.
#[derive(Debug)]
pub(crate) struct Troubles {
    announce: Announce,
    missing: Vec<String>,
    attach: Vec<String>,
    /// Some endpoint had a hint for zones.
    hinted: bool,
}

impl Troubles {
    /// Nothing has been said.
    pub(crate) fn new(announce: Announce) -> Self {
        Self {
            announce,
            missing: Vec::new(),
            attach: Vec::new(),
            hinted: false,
        }
    }

    /// Named devices that are not there now.
    pub(crate) fn missing(&mut self, now: &[String], metrics: &Metrics) {
        let now = now.to_vec();
        let (came, went) = replace(&mut self.missing, now, &metrics.missing_devices);
        for device in came {
            warn!(
                device,
                "a flag names this device, and it is not there: going on without it until it appears"
            );
            let text = format!(
                "device {device}, which a flag names, is not there: what comes in on it is not balanced; compare --devices, --attach-tc and --attach-xdp with `ip link`"
            );
            self.announce.node("DeviceMissing", "Attach", &device, text);
        }
        for device in went {
            info!(device, "the device is there now");
        }
    }

    /// What could not be attached this time, and to which device.
    pub(crate) fn attach(&mut self, now: &[(String, Error)], metrics: &Metrics) {
        let texts = now.iter().map(|(_, error)| format!("{error:#}")).collect();
        let (came, went) = replace(&mut self.attach, texts, &metrics.attach_problems);
        for problem in &came {
            error!(error = problem, "cannot attach, trying again");
        }
        self.unattached(now);
        if self.attach.is_empty() && !went.is_empty() {
            info!("everything is attached now");
        }
    }
}

impl Troubles {
    /// By device, since what is said of one may differ each time.
    fn unattached(&self, problems: &[(String, Error)]) {
        for (device, error) in problems {
            let text = format!("{error:#}");
            self.announce.node("CannotAttach", "Attach", device, text);
        }
    }

    /// Devices that were to have XDP and whose driver has none.
    pub(crate) fn without_xdp<'d>(&self, devices: impl Iterator<Item = &'d str>) {
        for device in devices {
            let text = format!(
                "device {device} has no native XDP: tc does its work, more slowly; take it out of --attach-xdp, or see its driver"
            );
            self.announce.node("NoNativeXdp", "Attach", device, text);
        }
    }

    /// Objects may ask for something that this Node lacks.
    pub(crate) fn arrived(&mut self, event: &Event) {
        let hints = |slice: &Slice| slice.endpoints.iter().any(|e| !e.hint_zones().is_empty());
        self.hinted |= match event {
            Event::Slice(slice) => hints(slice),
            Event::Slices(all) => all.iter().any(hints),
            _ => false,
        };
    }

    /// The addresses that node ports answer on.
    pub(crate) fn node_ports(&self, words: &[NodePortAddress], on: &[(IpAddr, u32)]) {
        let only_loopback = words
            .iter()
            .all(|w| matches!(w, NodePortAddress::Localhost));
        if !on.is_empty() || only_loopback {
            return;
        }
        warn!("no address of this machine is one that node ports answer on");
        let text = "--node-port-addresses admits no address of this machine but loopback, if that: its node ports answer nobody outside; compare it with `ip address`";
        self.announce
            .node("NoNodePortAddress", "Program", "", text.to_owned());
    }

    /// After a sync: how full the maps are, and whether hints can be honoured.
    pub(crate) fn synced(&self, usage: &[Usage], cluster: &Cluster) {
        for Usage {
            map,
            entries,
            capacity,
        } in usage.iter().filter(|usage| is_almost_full(usage))
        {
            let text = format!(
                "map {map} holds {entries} of {capacity} entries: what does not fit is refused; start the agent with --map-capacity {map}=N"
            );
            self.announce.node("MapAlmostFull", "Program", map, text);
        }
        if self.hinted && cluster.synced().node && cluster.node().is_some_and(|n| n.zone.is_none())
        {
            let text = "endpoints have hints for zones, and this Node has no label topology.kubernetes.io/zone: hints are not followed here";
            self.announce
                .node("NoZoneLabel", "Program", "", text.to_owned());
        }
    }

    /// An audit found what the agent has not written.
    pub(crate) fn changed(&self, map: &str, drift: u64) {
        let text = format!(
            "{drift} entries of map {map} were changed by somebody else, and are repaired: find out who writes to the agent's maps"
        );
        self.announce.node("MapChangedByOthers", "Audit", map, text);
    }
}

/// So full that somebody should make it larger before it is full: nine in ten, as `lb-agent check` has it.
fn is_almost_full(usage: &Usage) -> bool {
    u64::from(usage.entries) * 10 > u64::from(usage.capacity) * 9
}

/// Takes the new list over: what came with it, and what went.
fn replace(told: &mut Vec<String>, now: Vec<String>, gauge: &Gauge) -> (Vec<String>, Vec<String>) {
    gauge.set(i64::try_from(now.len()).unwrap_or(i64::MAX));
    let before = std::mem::replace(told, now);
    let without = |all: &[String], known: &[String]| -> Vec<String> {
        let fresh = all.iter().filter(|text| !known.contains(text));
        fresh.cloned().collect()
    };
    (without(told, &before), without(&before, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_almost_full_above_nine_in_ten() {
        let usage = |entries, capacity| Usage {
            map: "lb_svc",
            entries,
            capacity,
        };
        assert!(!is_almost_full(&usage(90, 100)));
        assert!(is_almost_full(&usage(91, 100)));
        assert!(is_almost_full(&usage(u32::MAX, u32::MAX)));
        assert!(!is_almost_full(&usage(0, 0)));
    }

    #[test]
    fn a_device_that_fails_differently_each_time_leaves_room_for_others() {
        let (sender, mut told) = tokio::sync::mpsc::channel(100);
        let troubles = Troubles::new(Announce::new(sender));
        for n in 0..50 {
            let error = anyhow::anyhow!("cannot attach lb_tc_ingress to eth0: refused at {n}");
            troubles.unattached(&[("eth0".to_owned(), error)]);
        }
        troubles.unattached(&[("eth1".to_owned(), anyhow::anyhow!("busy"))]);
        let texts: Vec<String> = std::iter::from_fn(|| told.try_recv().ok())
            .map(|notice| notice.text)
            .collect();
        assert_eq!(
            texts,
            ["cannot attach lb_tc_ingress to eth0: refused at 0", "busy"]
        );
    }

    #[test]
    fn what_is_known_is_not_said_again() {
        let gauge = Gauge::default();
        let all =
            |texts: &[&str]| -> Vec<String> { texts.iter().map(ToString::to_string).collect() };
        let mut told = Vec::new();
        for (now, came, went) in [
            (all(&["a"]), all(&["a"]), all(&[])),
            (all(&["a"]), all(&[]), all(&[])),
            (all(&["b", "a"]), all(&["b"]), all(&[])),
            (all(&["b"]), all(&[]), all(&["a"])),
        ] {
            let n = i64::try_from(now.len()).unwrap();
            assert_eq!(replace(&mut told, now, &gauge), (came, went));
            assert_eq!(gauge.get(), n);
        }
    }
}
