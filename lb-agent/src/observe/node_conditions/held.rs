//! Cluster IPs on devices of this machine that no process serves.

use std::{collections::BTreeMap, net::IpAddr};

use tracing::{info, warn};

use super::{super::metrics::set, NodeConditions};

/// Addresses that a text names.
const NAMED: usize = 3;

impl NodeConditions {
    /// Such addresses now, by device.
    pub(crate) fn held(&mut self, now: &BTreeMap<String, Vec<IpAddr>>) {
        let (appeared, gone) = self.held.update(now.keys().cloned());
        set(&self.metrics.held_devices, now.len());
        for device in appeared {
            let addresses = named(now.get(&device).map_or(&[], Vec::as_slice));
            warn!(
                device,
                addresses,
                "the device has cluster IPs, and no process serves them: another proxy may have left them behind"
            );
            let text = format!(
                "device {device} has cluster IPs of Services ({addresses}), and no process listens there: another proxy or a test may have left them behind. The Services work for sockets that are translated and for packets from outside; clients without socket hooks reach this node itself. `lb-agent check` names them, `lb-agent cleanup --kube-proxy` removes those of known proxies and of lo, `ip address del` the others"
            );
            self.recorder
                .node("ClusterIPsHeld", "Program", &device, text);
        }
        for device in gone {
            info!(
                device,
                "no cluster IP without a listener is on this device now"
            );
        }
    }
}

fn named(all: &[IpAddr]) -> String {
    let first: Vec<String> = all.iter().take(NAMED).map(IpAddr::to_string).collect();
    match all.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
