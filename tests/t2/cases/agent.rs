//! An engine over maps in memory, and the text of what they hold.

use anyhow::{Result, ensure};
use lb_agent::{
    maps::{
        Maps,
        mem::{self, Limits, SharedWorld},
    },
    model::Event,
    plan::PlanConfig,
    sync::{Engine, HealthCheck, dump::dump},
};

pub(super) struct Agent {
    maps: Maps,
    world: SharedWorld,
    engine: Engine,
}

impl Agent {
    pub(super) fn start(config: &PlanConfig) -> Result<Self> {
        let maps = mem::new(Limits {
            hash: 4096,
            pools: 128,
            slots: 4096,
            backends: 512,
        });
        Self::over(maps, config)
    }

    fn over((mut maps, world): (Maps, SharedWorld), config: &PlanConfig) -> Result<Self> {
        let engine = Engine::restore(&mut maps, config.clone())?;
        Ok(Self {
            maps,
            world,
            engine,
        })
    }

    /// Another agent takes over the maps.
    pub(super) fn restart(self, config: &PlanConfig) -> Result<Self> {
        Self::over((self.maps, self.world), config)
    }

    /// Each event is written before the next one comes.
    pub(super) fn handle(&mut self, events: impl IntoIterator<Item = Event>) -> Result<()> {
        for event in events {
            self.engine.handle(event);
            let report = self.engine.sync(&mut self.maps);
            ensure!(report.failed.is_empty(), "{:?}", report.failed);
        }
        let violations = &self.world.lock().violations;
        ensure!(violations.is_empty(), "{violations:#?}");
        Ok(())
    }

    /// Elements written so far.
    pub(super) fn writes(&self) -> u64 {
        self.world.lock().total_writes()
    }

    /// Whether two Services want the same frontend.
    pub(super) fn has_conflicts(&self) -> bool {
        let problems = self.engine.problems();
        problems
            .values()
            .flatten()
            .any(|p| p.contains("belongs to"))
    }

    pub(super) fn dump(&mut self) -> Result<String> {
        let report = self.engine.settle(&mut self.maps);
        ensure!(report.failed.is_empty(), "{:?}", report.failed);
        Ok(dump(&self.maps)?)
    }

    /// The maps, and what the agent reports beside them.
    pub(super) fn text(&mut self, skipped: &[String]) -> Result<String> {
        let mut lines = vec![self.dump()?];
        for (service, check) in self.engine.health_checks() {
            let HealthCheck { facts, programmed } = check;
            for (family, n) in ["", " IPv6"].iter().zip(facts.local_endpoints) {
                let Some(n) = n else { continue };
                let but = if *programmed { "" } else { ", not carried" };
                lines.push(format!(
                    "health check {} of {service}: {n} local{family}{but}\n",
                    facts.port
                ));
            }
        }
        for (service, problems) in self.engine.problems() {
            let of_service = problems.iter().map(|p| format!("problem {service}: {p}\n"));
            lines.extend(of_service);
        }
        lines.extend(skipped.iter().map(|line| format!("{line}\n")));
        Ok(lines.concat())
    }
}
