//! What the agent's process uses, under the names that every Prometheus client library has.

use std::fmt;

use procfs::{WithCurrentSystemInfo as _, process};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use tracing::debug;

/// Reads `/proc/self` at each scrape; its names begin with `process_`.
#[derive(Debug)]
pub(super) struct Process;

/// What `/proc/self` says.
struct Usage {
    cpu_seconds: f64,
    started: f64,
    resident: u64,
    virtual_memory: u64,
    threads: i64,
    open_files: usize,
    most_files: Option<u64>,
}

fn look() -> procfs::ProcResult<Usage> {
    let me = process::Process::myself()?;
    let stat = me.stat()?;
    let files = me.limits()?.max_open_files.soft_limit;
    let booted = procfs::boot_time_secs()?;
    let ticks = procfs::ticks_per_second();
    #[expect(
        clippy::cast_precision_loss,
        reason = "ticks and seconds are far below 2^52"
    )]
    let seconds = |ticked: u64| ticked as f64 / ticks as f64;
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
    let started = booted as f64 + seconds(stat.starttime);
    Ok(Usage {
        cpu_seconds: seconds(stat.utime + stat.stime),
        started,
        resident: stat.rss_bytes().get(),
        virtual_memory: stat.vsize,
        threads: stat.num_threads,
        open_files: me.fd_count()?,
        most_files: match files {
            process::LimitValue::Unlimited => None,
            process::LimitValue::Value(n) => Some(n),
        },
    })
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let used = match look() {
            Ok(used) => used,
            Err(error) => {
                debug!(%error, "cannot read /proc/self");
                return Ok(());
            }
        };
        ConstCounter::new(used.cpu_seconds).encode(encoder.encode_descriptor(
            "cpu",
            "Time of processors, user and system",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?)?;
        ConstGauge::new(used.started).encode(encoder.encode_descriptor(
            "start_time",
            "When the process started, since 1970",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?)?;
        let gauge = |n: u64| ConstGauge::new(i64::try_from(n).unwrap_or(i64::MAX));
        for (name, help, unit, n) in [
            (
                "resident_memory",
                "Memory in RAM",
                Some(&Unit::Bytes),
                Some(used.resident),
            ),
            (
                "virtual_memory",
                "Addresses in use",
                Some(&Unit::Bytes),
                Some(used.virtual_memory),
            ),
            ("threads", "Threads", None, u64::try_from(used.threads).ok()),
            (
                "open_fds",
                "Open file descriptors",
                None,
                Some(used.open_files as u64),
            ),
            (
                "max_fds",
                "File descriptors that may be open",
                None,
                used.most_files,
            ),
        ] {
            let Some(n) = n else { continue };
            gauge(n).encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
