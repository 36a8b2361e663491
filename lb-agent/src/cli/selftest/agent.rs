//! The agent under test: this same program, in the room.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_common::maps::{self, MapSpec};

use super::{
    addresses::{EXTERNAL_NETWORKS, Family, Seat},
    manifest::{self, NODE},
    mounts, part,
};
use crate::cli::ask;

/// On the loopback device of a namespace that nobody else has.
const HEALTH: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10256);
/// The other address.
const METRICS: &str = "127.0.0.1:10249";
/// Between two looks.
const AGAIN: Duration = Duration::from_millis(50);
/// Maps are this small: the room counts to the memory of whoever runs the test.
const ENTRIES: u32 = 1 << 12;
/// What is sized by the machine, the others by flags of the agent.
const SIZED: [&MapSpec; 13] = [
    &maps::FRONTENDS,
    &maps::POOLS,
    &maps::SLOTS,
    &maps::BACKENDS,
    &maps::MEMBERS,
    &maps::UDP_PEERS,
    &maps::AFFINITY,
    &maps::SRCRANGES,
    &maps::FLOWS,
    &maps::NEWFLOWS,
    &maps::SNAT_PEERS,
    &maps::FRAGMENTS,
    &maps::FOREIGN,
];
/// Of its log, in what is shown: so many lines,
const TAIL: usize = 4;
/// and of each so many characters. The first one tells every setting.
const LONGEST: usize = 240;

/// It ends with its room.
pub(super) struct Agent {
    process: Child,
    log: PathBuf,
}

impl Agent {
    /// Starts it on the Services of the test.
    pub(super) fn start(room: &Path, cgroup: &Path, families: &[Family]) -> Result<Self> {
        let manifests = room.join("manifests");
        fs::create_dir(&manifests).with_context(|| format!("create {}", manifests.display()))?;
        let file = manifests.join("services.yaml");
        fs::write(&file, manifest::manifest(families))
            .with_context(|| format!("write {}", file.display()))?;
        let log = room.join("agent.log");
        let said = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let devices = Seat::OUTSIDE.map(Seat::device);
        let capacities = SIZED.map(|map| format!("{}={ENTRIES}", map.name));
        let process = part::agent()
            .arg("--manifests")
            .arg(&manifests)
            .arg("--bpf-dir")
            .arg(room.join(mounts::PINS).join("lb"))
            .arg("--cgroup")
            .arg(cgroup)
            .arg("--state-dir")
            .arg(room.join("state"))
            .args(["--node-name", NODE, "--devices", &devices.join(",")])
            .args(["--attach-xdp", Seat::Client.device()])
            .args(["--external-ip-cidrs", EXTERNAL_NETWORKS])
            .args(["--map-capacity", &capacities.join(",")])
            .args(["--health-bind-address", &HEALTH.to_string()])
            .args(["--metrics-bind-address", METRICS])
            .stdin(Stdio::null())
            .stdout(said.try_clone().context("share the log")?)
            .stderr(said)
            .spawn()
            .context("start the agent")?;
        Ok(Self { process, log })
    }

    /// Waits until it has written everything; what is wrong.
    pub(super) fn wait_ready(&mut self, deadline: Instant) -> Result<(), String> {
        loop {
            if matches!(ask::get(HEALTH, "/readyz"), Some((true, _))) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(format!("it ended with {status}: {}", self.tail()));
            }
            if Instant::now() > deadline {
                return Err(format!("it is not ready in time: {}", self.tail()));
            }
            thread::sleep(AGAIN);
        }
    }

    /// The end of its log, in one line.
    fn tail(&self) -> String {
        tail(&fs::read_to_string(&self.log).unwrap_or_default())
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(TAIL)..].iter();
    let short = last.map(|line| match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => (*line).to_owned(),
    });
    short.collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_log_is_short() {
        assert_eq!(tail("1\n2\n3\n4\n5\n"), "2 | 3 | 4 | 5");
        assert_eq!(tail(""), "");
        let long = "ä".repeat(LONGEST);
        assert_eq!(tail(&long), long);
        assert_eq!(tail(&format!("{long}b")), format!("{long}…"));
    }
}
