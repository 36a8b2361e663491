//! What is wrong with this machine, or with what was asked of it: devices, programs, lb0, maps,
//! addresses, its zone. Each condition is logged once, written as an Event on the Node, and shown
//! as a metric while it lasts.

use std::net::IpAddr;

use anyhow::Error;
use tracing::{error, info, warn};

use super::{audits::Drift, kernel, metrics::set, node_events::EventRecorder, once::Once};
use crate::{
    model::{Attached, Cluster, Event, NoXdp, Slice, Verification},
    settings::values::NodePortAddress,
    sync::Usage,
};

mod held;
mod metrics;

pub(crate) use metrics::NodeMetrics;

/// The conditions that hold now.
#[derive(Debug)]
pub(crate) struct NodeConditions {
    recorder: EventRecorder,
    metrics: NodeMetrics,
    missing: Once<String>,
    unwatched: Once<String>,
    left_out: Once<String>,
    unattached: Once<String>,
    misplaced: Once<Attached>,
    lb0_device: Once<String>,
    lb0_routing: Once<String>,
    masquerade: Once<String>,
    held: Once<String>,
    /// Some endpoint had a hint for zones.
    hinted: bool,
}

/// Where a problem of `lb0` comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lb0Part {
    /// The device, its routes and its rules.
    Device,
    /// What is to be routed there.
    Routing,
}

impl NodeConditions {
    /// Nothing is wrong yet.
    pub(crate) fn new(recorder: EventRecorder, metrics: NodeMetrics) -> Self {
        Self {
            recorder,
            metrics,
            missing: Once::default(),
            unwatched: Once::default(),
            left_out: Once::default(),
            unattached: Once::default(),
            misplaced: Once::default(),
            lb0_device: Once::default(),
            lb0_routing: Once::default(),
            masquerade: Once::default(),
            held: Once::default(),
            hinted: false,
        }
    }

    /// The named devices that do not exist now.
    pub(crate) fn missing(&mut self, now: &[String]) {
        let (appeared, gone) = self.missing.update(now.iter().cloned());
        set(&self.metrics.missing_devices, now.len());
        for device in appeared {
            warn!(
                device,
                "a flag names this device, and it does not exist: continuing without it until it appears"
            );
            let text = format!(
                "device {device}, which a flag names, does not exist: what comes in on it is not balanced; compare --devices, --attach-tc and --attach-xdp with `ip link`"
            );
            self.recorder.node("DeviceMissing", "Attach", &device, text);
        }
        for device in gone {
            info!(device, "the device exists now");
        }
    }

    /// Devices that replies may leave by and that no program watches.
    pub(crate) fn unwatched(&mut self, now: &[String]) {
        let metric = &self.metrics.unwatched_devices;
        metric.clear();
        for device in now {
            let device = device.clone();
            metric
                .get_or_create(&metrics::DeviceLabels { device })
                .set(1);
        }
        let (appeared, gone) = self.unwatched.update(now.iter().cloned());
        for device in appeared {
            warn!(
                device,
                "routes lead out by this device, and no program watches it: replies of backends that leave there are not translated"
            );
            let text = format!(
                "routes lead out by device {device}, which --devices and --attach-tc leave out: replies of backends that leave there keep the backend's address, and connections fail; add it, or start with --devices auto"
            );
            self.recorder
                .node("DeviceNotWatched", "Attach", &device, text);
        }
        for device in gone {
            info!(
                device,
                "the device is watched, or no route leads out by it now"
            );
        }
    }

    /// The devices that a list of names leaves out, and that endpoints of other nodes are behind.
    pub(crate) fn left_out(&mut self, now: &[String]) {
        let (appeared, gone) = self.left_out.update(now.iter().cloned());
        set(&self.metrics.left_out_devices, now.len());
        for device in appeared {
            warn!(
                device,
                "endpoints of other nodes are routed over this device, and --devices leaves it out: their replies are not translated"
            );
            let text = format!(
                "endpoints of other nodes are routed over device {device}, which --devices or --attach-tc leaves out: packets that are sent to them there are answered in vain; name it too, or use --devices auto"
            );
            self.recorder
                .node("EndpointsNotWatched", "Attach", &device, text);
        }
        for device in gone {
            info!(
                device,
                "no endpoint of another node is behind it unwatched now"
            );
        }
    }

    /// Programs that could not be attached this time, each with its device, and devices that were
    /// to have XDP and whose driver has none.
    pub(crate) fn attached(
        &mut self,
        problems: &[(String, Error)],
        without_xdp: &[(String, NoXdp)],
    ) {
        let texts = problems.iter().map(|(_, error)| format!("{error:#}"));
        let (appeared, gone) = self.unattached.update(texts);
        set(&self.metrics.attach_problems, problems.len());
        for problem in &appeared {
            error!(error = problem, "cannot attach, will retry");
        }
        // By device, since the text of one device may differ each time.
        for (device, error) in problems {
            let text = format!("{error:#}");
            self.recorder.node("CannotAttach", "Attach", device, text);
        }
        if problems.is_empty() && !gone.is_empty() {
            info!("all programs are attached now");
        }
        for (device, why) in without_xdp {
            let text = format!(
                "{}; tc does its work, more slowly, until lb-agent starts again",
                why.problem(device)
            );
            self.recorder.node("NoNativeXdp", "Attach", device, text);
        }
    }

    /// What became of the programs since they were attached.
    pub(crate) fn verified(&mut self, found: &Verification) {
        let Verification { lost, misplaced } = found;
        self.metrics.lost_programs.inc_by(lost.len() as u64);
        for attached in lost {
            let Attached { program, .. } = attached;
            let place = place(attached);
            error!(
                program,
                place, "another process detached this program, attaching it again"
            );
            let text = format!(
                "another process detached {program} from {place}; the agent attaches it again: find out what removes programs, links or qdiscs there"
            );
            self.recorder.node(
                "ProgramDetached",
                "Audit",
                &format!("{program} {place}"),
                text,
            );
        }
        set(&self.metrics.misplaced_programs, misplaced.len());
        let (appeared, gone) = self.misplaced.update(misplaced.iter().cloned());
        for attached in &appeared {
            let Attached { program, .. } = attached;
            let place = place(attached);
            warn!(
                program,
                place,
                "a program of other software runs before this one at ingress, or after it at egress"
            );
            let text = format!(
                "on {place} a program of other software runs before {program} at ingress, or after it at egress: it sees packets untranslated or changes them; see `bpftool net show`"
            );
            self.recorder.node(
                "ProgramMisplaced",
                "Audit",
                &format!("{program} {place}"),
                text,
            );
        }
        for attached in &gone {
            let Attached { program, .. } = attached;
            info!(
                program,
                place = place(attached),
                "this program runs where it belongs again"
            );
        }
    }

    /// The problems of `lb0` now.
    pub(crate) fn lb0(&mut self, part: Lb0Part, problems: &[String]) {
        let known = match part {
            Lb0Part::Device => &mut self.lb0_device,
            Lb0Part::Routing => &mut self.lb0_routing,
        };
        let (appeared, gone) = known.update(problems.iter().cloned());
        for problem in appeared {
            error!(error = problem, "lb0");
        }
        if problems.is_empty() && !gone.is_empty() {
            info!("lb0 is healthy again");
        }
        let all = self.lb0_device.len() + self.lb0_routing.len();
        set(&self.metrics.lb0_problems, all);
    }

    /// The problem of the rule that masquerades now.
    pub(crate) fn masquerade(&mut self, problem: Option<String>) {
        let (appeared, gone) = self.masquerade.update(problem);
        for problem in appeared {
            error!(error = problem, "masquerade");
            self.recorder
                .node("CannotMasquerade", "Program", "", problem);
        }
        if !gone.is_empty() && self.masquerade.len() == 0 {
            info!("the rule that masquerades stands");
        }
        set(&self.metrics.masquerade_problems, self.masquerade.len());
    }

    /// Objects may ask for something that this Node lacks.
    pub(crate) fn received(&mut self, event: &Event) {
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
        warn!("node ports answer on no address of this machine");
        let text = "--node-port-addresses admits no address of this machine but loopback, if that: clients outside cannot reach its node ports; compare it with `ip address`";
        self.recorder
            .node("NoNodePortAddress", "Program", "", text.to_owned());
    }

    /// After a sync: how full the maps are, and whether hints can be followed.
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
            self.recorder.node("MapAlmostFull", "Program", map, text);
        }
        if self.hinted && cluster.synced().node && cluster.node().is_some_and(|n| n.zone.is_none())
        {
            let text = "endpoints have hints for zones, and this Node has no label topology.kubernetes.io/zone: hints are not followed here";
            self.recorder
                .node("NoZoneLabel", "Program", "", text.to_owned());
        }
    }

    /// An audit found entries of a map that the agent has not written.
    pub(crate) fn drifted(&self, drift: Drift) {
        let Drift { map, entries } = drift;
        let text = format!(
            "another process changed {entries} entries of map {map}; they are repaired: find out what writes to the agent's maps"
        );
        self.recorder.node("MapChangedByOthers", "Audit", map, text);
    }
}

/// Where a program is attached, in words.
fn place(attached: &Attached) -> &str {
    match attached.device.as_str() {
        "" => "the cgroup",
        device => device,
    }
}

fn is_almost_full(usage: &Usage) -> bool {
    kernel::is_almost_full(usage.entries.into(), usage.capacity.into())
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::{super::events::EventQueue, *};

    #[test]
    fn a_map_is_almost_full_above_nine_in_ten() {
        let usage = |entries, capacity| Usage {
            map: "lb_pools",
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
        let (queue, mut requests) = EventQueue::new(100);
        let metrics = NodeMetrics::new(&mut Registry::default());
        let mut conditions = NodeConditions::new(EventRecorder::new(queue), metrics);
        for n in 0..50 {
            let error = anyhow::anyhow!("cannot attach lb_tc_ingress to eth0: refused at {n}");
            conditions.attached(&[("eth0".to_owned(), error)], &[]);
        }
        conditions.attached(&[("eth1".to_owned(), anyhow::anyhow!("busy"))], &[]);
        let texts: Vec<String> = std::iter::from_fn(|| requests.try_recv().ok())
            .map(|request| request.text)
            .collect();
        assert_eq!(
            texts,
            ["cannot attach lb_tc_ingress to eth0: refused at 0", "busy"]
        );
    }
}
