//! What a reader must know of the machine to make anything of the numbers.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use serde::Serialize;
use testbed::{agent, cluster};

/// Stands above every report.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Header {
    kernel: String,
    cpu: String,
    cpus: usize,
    memory_gib: u64,
    agent: String,
    /// None where it is no peer.
    kube_proxy: Option<String>,
    /// One, five and fifteen minutes, when the run began.
    load: String,
    /// Seconds since 1970, when the run began.
    started: u64,
}

impl Header {
    /// Looks at the machine.
    pub(crate) fn look() -> Result<Self> {
        Ok(Self {
            kube_proxy: Some(version(&cluster::tool("kube-proxy")?)?),
            ..Self::look_at_the_agent()?
        })
    }

    /// [`Self::look`] where there is no kube-proxy.
    pub(crate) fn look_at_the_agent() -> Result<Self> {
        let cpuinfo = read("/proc/cpuinfo")?;
        let meminfo = read("/proc/meminfo")?;
        let kib: Option<u64> = field(&meminfo, "MemTotal")
            .and_then(|text| text.split_whitespace().next()?.parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu: field(&cpuinfo, "model name")
                .unwrap_or("unknown")
                .to_owned(),
            cpus: std::thread::available_parallelism()
                .context("count the CPUs")?
                .get(),
            memory_gib: kib.unwrap_or_default() >> 20,
            agent: version(&agent::binary()?)?,
            kube_proxy: None,
            load: read("/proc/loadavg")?
                .split_whitespace()
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
            started: now.context("the clock is before 1970")?.as_secs(),
        })
    }

    /// As lines of a Markdown list.
    pub(crate) fn markdown(&self) -> String {
        let Self {
            kernel,
            cpu,
            cpus,
            memory_gib,
            agent,
            kube_proxy,
            load,
            started: _,
        } = self;
        let kube_proxy = kube_proxy
            .as_ref()
            .map_or_else(String::new, |version| format!("- kube-proxy: {version}\n"));
        format!(
            "- kernel {kernel}, {cpus} CPUs ({cpu}), {memory_gib} GiB\n- {agent}\n{kube_proxy}\
             - load of the machine when the run began: {load}\n"
        )
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

fn version(program: &std::path::Path) -> Result<String> {
    let said = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}
