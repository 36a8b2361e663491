//! The node's own labels, which change hints for all Services.

use std::sync::PoisonError;

use anyhow::{Result, ensure};
use conformance::bout::{self, Asked};
use conformance::world::ZONES;
use conformance::{Arena, Asker, Endpoint, Front, Svc};

use crate::referee::report;
use crate::referee::scenario::{Answer, Scenario, scenario, slice};

#[test]
fn hints_are_read_by_the_nodes_own_zone_or_not_at_all() -> Result<()> {
    let arena = Arena::shared()?;
    let mut arena = arena.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome =
        under(&mut arena, None, &[1, 3]).and_then(|()| under(&mut arena, Some(ZONES[1]), &[3]));
    arena.set_zone(Some(ZONES[0]))?;
    outcome?;
    under(&mut arena, Some(ZONES[0]), &[1])
}

/// With this label on the node.
fn under(arena: &mut Arena, zone: Option<&str>, pods: &'static [usize]) -> Result<()> {
    arena.set_zone(zone)?;
    let scenario: Scenario = scenario(
        "one endpoint a zone",
        &[Svc {
            slices: vec![slice([
                Endpoint::new(1).zone(ZONES[0]),
                Endpoint::new(3).zone(ZONES[1]),
            ])],
            ..Svc::default()
        }],
    )
    .says(Asker::Pod, Front::ClusterIp, Answer::Pods(pods))
    .says(Asker::Outside, Front::ClusterIp, Answer::Pods(pods));
    let plans = [scenario.plan.clone()];
    let score = bout::run(arena, &plans, &Asked::All)?;
    let differences = report::differences(&plans, &score);
    ensure!(differences.is_empty(), "zone {zone:?}: {differences}");
    let answered: Vec<_> = score.answered.iter().collect();
    let surprises = scenario.surprises(&answered);
    ensure!(
        surprises.is_empty(),
        "zone {zone:?}: {}",
        surprises.join("\n")
    );
    Ok(())
}
