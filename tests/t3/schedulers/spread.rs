//! What each scheduler does with a client's connections, whatever the path.

use std::{collections::BTreeMap, io};

use anyhow::{Result, ensure};
use lb_common::scheduler::Scheduler;
use testbed::{addr, addr::Both, manifest::Service, matrix::Case, probe::Sock};

/// The service that a scheduler has.
pub(super) fn service(scheduler: Scheduler) -> Service {
    Service::new(&format!("by-{}", scheduler.name()), vip(scheduler))
        .annotate("lb-agent.io/scheduler", scheduler.name())
}

/// Its VIP.
pub(super) fn vip(scheduler: Scheduler) -> Both {
    addr::vip(60 + scheduler.number())
}

/// The node port of its service.
pub(super) fn node_port(scheduler: Scheduler) -> u16 {
    30_060 + u16::from(scheduler.number())
}

/// Makes one connection more.
pub(super) type Connect<'a> = &'a dyn Fn() -> io::Result<Sock>;

/// Connections of one client to these many backends, with what the scheduler promises.
pub(super) fn check(
    scheduler: Scheduler,
    case: Case,
    backends: usize,
    connect: Connect<'_>,
) -> Result<()> {
    let what = || format!("{} {case}", scheduler.name());
    let name = |sock: &Sock| sock.ask("hello").map(|answer| answer.name);
    match scheduler {
        Scheduler::RoundRobin | Scheduler::WeightedRoundRobin => {
            for _ in 0..4 {
                let mut round = BTreeMap::new();
                for _ in 0..backends {
                    *round.entry(name(&connect()?)?).or_insert(0) += 1;
                }
                ensure!(round.len() == backends, "{}: {round:?}", what());
            }
        }
        Scheduler::LeastConnections
        | Scheduler::WeightedLeastConnections
        | Scheduler::TwoChoices => {
            let each = 6;
            let mut held = Vec::new();
            let mut open: BTreeMap<String, usize> = BTreeMap::new();
            for _ in 0..each * backends {
                let sock = connect()?;
                *open.entry(name(&sock)?).or_default() += 1;
                held.push(sock);
                if scheduler != Scheduler::TwoChoices && held.len().is_multiple_of(backends) {
                    let level = held.len() / backends;
                    ensure!(
                        open.len() == backends && open.values().all(|n| *n == level),
                        "{}: {open:?}",
                        what()
                    );
                }
            }
            // By chance alone two backends differ by so much once in hundreds of runs; by two
            // choices hardly ever.
            let (min, max) = (open.values().min(), open.values().max());
            let spread = max.zip(min).map_or(0, |(max, min)| max - min);
            ensure!(
                open.len() == backends && spread <= 6,
                "{}: {open:?}",
                what()
            );
        }
        Scheduler::SourceHash => {
            let first = name(&connect()?)?;
            for _ in 0..12 {
                let next = name(&connect()?)?;
                ensure!(next == first, "{}: {first}, then {next}", what());
            }
        }
        Scheduler::Random | Scheduler::Maglev => {
            // One of four is missed once in three million runs.
            let mut seen = BTreeMap::new();
            for _ in 0..60 {
                *seen.entry(name(&connect()?)?).or_insert(0) += 1;
            }
            ensure!(seen.len() == backends, "{}: {seen:?}", what());
        }
    }
    Ok(())
}
