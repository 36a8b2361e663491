//! What the kernel says of a program's own run time, which it counts only while it is asked to:
//! that costs each run some 20 ns, part of which it counts.

use std::{
    fs::{self, File},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result};
use aya::{
    programs::{ProgramFd, loaded_programs},
    sys::{Stats, enable_stats},
};

use super::{V6, rows::Row};
use crate::{client::Client, report::Table, stats::Spread, wire::Work};

/// Calls of a block while the kernel counts run times.
const COUNTED: u32 = 5000;

/// The kernel counts while this value is there.
struct Counting {
    _on: OwnedFd,
}

impl Counting {
    /// Of all programs of the machine. Linux 5.8.
    fn start() -> Result<Self> {
        let on = enable_stats(Stats::RunTime).context("have the kernel count run times")?;
        Ok(Self { _on: on })
    }
}

/// A program of an agent.
struct Program {
    fd: ProgramFd,
}

/// Since the program was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Runs {
    nanos: u32,
    count: u32,
}

impl Program {
    /// By the pin of its link in an agent's `--bpf-dir`.
    fn of(bpf_dir: &Path, name: &str) -> Result<Self> {
        let pin = bpf_dir.join("links").join(name);
        let link = lb_sys::open_pin(&pin).with_context(|| format!("open {}", pin.display()))?;
        let id = lb_sys::link_info(link.as_fd())
            .with_context(|| format!("ask for {}", pin.display()))?
            .program;
        for program in loaded_programs() {
            let program = program.context("list programs")?;
            if program.id() == id {
                let fd = program.fd().with_context(|| format!("open {name}"))?;
                return Ok(Self { fd });
            }
        }
        anyhow::bail!("{name} is not loaded")
    }

    /// Mean of the runs since `before`, ns.
    fn mean_since(&self, before: Runs) -> Result<f64> {
        let Runs { nanos, count } = self.runs()?;
        let runs = count.wrapping_sub(before.count);
        anyhow::ensure!(runs > 0, "the program has not run");
        Ok(f64::from(nanos.wrapping_sub(before.nanos)) / f64::from(runs))
    }

    /// So far, the lower half of each number: differences of less than four seconds are exact.
    fn runs(&self) -> Result<Runs> {
        let path = format!("/proc/self/fdinfo/{}", self.fd.as_fd().as_raw_fd());
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let field = |name: &str| -> Result<u32> {
            let value: u64 = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
                .with_context(|| format!("{path} has no {name}"))?
                .parse()
                .with_context(|| format!("{name} is no number"))?;
            let [low, _] = [value & u64::from(u32::MAX), value >> 32];
            u32::try_from(low).context("32 bits")
        };
        Ok(Runs {
            nanos: field("run_time_ns")?,
            count: field("run_cnt")?,
        })
    }
}

/// Whether another process has switched the kernel's counting on, which would burden every other
/// number.
pub(super) fn counted_by_others() -> Result<bool> {
    let path = "/proc/sys/kernel/bpf_stats_enabled";
    File::open(path).with_context(|| format!("open {path}"))?;
    Ok(fs::read_to_string(path)?.trim() != "0")
}

/// Apart from the rounds, since counting slows what it counts.
pub(super) fn table(client: &mut Client, rows: &[Row]) -> Result<Table> {
    let columns = [
        ("lb_connect", Work::UdpConnect),
        ("lb_connect", Work::TcpConnect),
        ("lb_sendmsg", Work::SendTo),
    ];
    let counting = Counting::start()?;
    let mut lines = Vec::new();
    for row in rows {
        let Some(dir) = &row.programs else { continue };
        let mut line = vec![row.name.clone()];
        let family = if row.name.ends_with(V6) { 6 } else { 4 };
        for (name, work) in columns {
            let program = Program::of(dir, &format!("{name}{family}"))?;
            let calls = if work == Work::TcpConnect {
                COUNTED / 10
            } else {
                COUNTED
            };
            let means: Vec<f64> = (0..7)
                .map(|_| {
                    let before = program.runs()?;
                    client.measure(&row.place, row.set, work, calls)?;
                    program.mean_since(before)
                })
                .collect::<Result<_>>()?;
            let Spread {
                median,
                min,
                max,
                count: _,
            } = Spread::of(&means).context("no runs")?;
            line.push(format!("{median:.0} [{min:.0}–{max:.0}]"));
        }
        lines.push(line);
    }
    drop(counting);
    Ok(Table {
        title:
            "Run time of the programs, by the kernel's own count: ns, median [min–max] of 7 blocks"
                .to_owned(),
        head: vec!["row", "connect, UDP", "connect, TCP", "sendmsg"],
        lines,
    })
}
