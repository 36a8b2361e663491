//! What the kernel counts and how full its maps are, read from the pins at each scrape. Never
//! writes to a map.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use lb_common::{
    Reason,
    affinity::{Affinity, AffinityKey},
    flow::{Flow, FlowKey},
    maps::{self, MapSpec},
    sock::{UdpPeer, UdpPeerKey},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use tracing::debug;

use super::names;
use crate::maps::{
    dir::BpfDir,
    pinned::{Access, HashPin},
    stats::Stats,
    table::{HashTable as _, MapError},
};

/// Maps that connections fill are walked to be counted: no more often than this.
const WALK: Duration = Duration::from_secs(30);

/// Is a map so full that the operator should make it larger: above nine in ten?
#[must_use]
pub fn is_almost_full(entries: f64, capacity: f64) -> bool {
    entries * 10.0 > capacity * 9.0
}

/// Entries of a map: in use, and at most.
pub type Fill = (u64, u64);

/// Reads the pins of one bpf-dir.
#[derive(Debug)]
pub struct Kernel {
    dir: BpfDir,
    /// Set by the sync engine, which knows it without reading.
    config: Mutex<BTreeMap<&'static str, Fill>>,
    walked: Mutex<Option<(Instant, BTreeMap<&'static str, Fill>)>>,
}

impl Kernel {
    /// Opens nothing yet: the pins may come later.
    #[must_use]
    pub fn new(dir: BpfDir) -> Self {
        Self {
            dir,
            config: Mutex::default(),
            walked: Mutex::default(),
        }
    }

    /// How full the maps are that the sync engine writes.
    pub fn set_usage(&self, fill: impl IntoIterator<Item = (&'static str, Fill)>) {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.extend(fill);
    }

    /// How often each reason was counted.
    pub fn reasons(&self) -> Result<Vec<(Reason, u64)>, MapError> {
        Stats::open(&self.dir)?.reasons()
    }

    /// How full each map is; those that connections fill, as of half a minute ago at most.
    pub fn fill(&self) -> BTreeMap<&'static str, Fill> {
        let mut all = self
            .config
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut walked = self.walked.lock().unwrap_or_else(PoisonError::into_inner);
        if walked.as_ref().is_none_or(|(at, _)| at.elapsed() > WALK) {
            *walked = Some((Instant::now(), self.walk()));
        }
        if let Some((_, fill)) = walked.as_ref() {
            all.extend(fill);
        }
        all
    }

    fn walk(&self) -> BTreeMap<&'static str, Fill> {
        let counted = [
            (maps::FLOWS, self.count::<FlowKey, Flow>(maps::FLOWS)),
            (maps::NEWFLOWS, self.count::<FlowKey, Flow>(maps::NEWFLOWS)),
            (
                maps::UDP_PEERS,
                self.count::<UdpPeerKey, UdpPeer>(maps::UDP_PEERS),
            ),
            (
                maps::AFFINITY,
                self.count::<AffinityKey, Affinity>(maps::AFFINITY),
            ),
        ];
        let mut fill = BTreeMap::new();
        for (spec, counted) in counted {
            match counted {
                Ok(n) => {
                    fill.insert(spec.name, n);
                }
                Err(error) => debug!(map = spec.name, %error, "cannot count entries"),
            }
        }
        fill
    }

    fn count<K: aya::Pod, V: aya::Pod>(&self, spec: MapSpec) -> Result<Fill, MapError> {
        let map = HashPin::<K, V>::open(&self.dir, spec, Access::Read)?;
        Ok((map.entries()?.len() as u64, map.capacity().into()))
    }
}

impl Collector for Kernel {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        match self.reasons() {
            Ok(reasons) => {
                let mut family = encoder.encode_descriptor(
                    "datapath_events",
                    "What the programs in the kernel did or refused, by reason",
                    None,
                    MetricType::Counter,
                )?;
                for (reason, n) in reasons {
                    ConstCounter::new(n)
                        .encode(family.encode_family(&[("reason", reason.name())])?)?;
                }
            }
            Err(error) => debug!(%error, "cannot read the kernel's counters"),
        }
        ConstCounter::new(lb_sys::write_calls()).encode(encoder.encode_descriptor(
            "map_write_calls",
            "System calls that wrote to maps or deleted from them; mapped arrays take none",
            None,
            MetricType::Counter,
        )?)?;
        let fill = self.fill();
        for (name, help, of) in [
            (
                names::MAP_ENTRIES,
                "Entries in use",
                (|f: &Fill| f.0) as fn(&Fill) -> u64,
            ),
            (
                names::MAP_MAX_ENTRIES,
                "Entries that the map can hold",
                |f: &Fill| f.1,
            ),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (map, f) in &fill {
                let n = i64::try_from(of(f)).unwrap_or(i64::MAX);
                ConstGauge::new(n).encode(family.encode_family(&[(names::MAP, *map)])?)?;
            }
        }
        Ok(())
    }
}
